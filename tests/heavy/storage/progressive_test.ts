/** Searches that start before the index is there: levels are held back byte by byte, and never missed. */
import assert from "node:assert/strict";
import {
  type BeamSearchOptions,
  ConstraintIndex,
  createDecoder,
  EspalierError,
  type Model,
  type OpenOptions,
} from "../../../mod.ts";
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import { modelOf, RULES } from "../../support/models.ts";
import type { FaultProxy } from "./servers/faults.ts";
import { nginxMissing } from "./servers/nginx.ts";
import { withServer } from "./servers/programs.ts";
import {
  CHUNK,
  commonStartFile,
  type File,
  headerLength,
  headerOnlyFile,
  largeFile,
  levelEnds,
  mixedFile,
} from "../../support/index_files.ts";
import { assertSameFile, served } from "./support/loading.ts";

const FILES = { fixed: await largeFile(), mixed: await mixedFile() };

/** Bytes that a reader may wait for before it shows any. */
const READ_BYTES = 2 ** 18;

/** Bytes of the file that must have come before each level is there: whole chunks. */
async function placesOf(file: File): Promise<number[]> {
  using index = await ConstraintIndex.open(file);
  const base = headerLength(file);
  return levelEnds(index, file).map((end) => {
    const place = base + Math.ceil((end - base) / CHUNK) * CHUNK;
    return place + READ_BYTES < file.length ? place : file.length;
  });
}

/** Holds the first answer back a little after some places; each is let go by hand, or at the end. */
function hold(proxy: FaultProxy, places: number[]): (() => void)[] & Disposable {
  const gates = places.map((place) => ({
    at: place + READ_BYTES,
    ...Promise.withResolvers<void>(),
  }));
  let isFirst = true;
  proxy.inject(() => {
    if (!isFirst) return undefined;
    isFirst = false;
    return gates.map(({ at, promise }) => ({ kind: "change", at, change: () => promise }));
  });
  const release = gates.map(({ resolve }) => resolve);
  return Object.assign(release, {
    [Symbol.dispose]: () => release.forEach((resolve) => resolve()),
  });
}

/** Some turns of the event loop, in which what can happen does. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}

const isNotLoaded = (error: unknown) =>
  error instanceof EspalierError && error.code === "not-loaded";

const progressive: OpenOptions = { progressive: true };

await withServer("progressive loading", nginxMissing(), () => {
  for (const [name, file] of Object.entries(FILES)) {
    for (const verify of [undefined, true]) {
      Deno.test(`A search of ${name} lengths waits for each level, and for no more (verify: ${verify})`, () =>
        served({ [name]: file }, async ({ proxy }) => {
          const places = await placesOf(file);
          using release = hold(proxy, places);
          using index = await ConstraintIndex.open(`${proxy.url}/${name}`, {
            ...progressive,
            verify,
          });
          using decoder = await createDecoder(index, { backend: "wasm" });
          // Longer sequences score higher: no search is over before the last level.
          const model = modelOf(RULES.shifted, 3);
          let steps = 0;
          const stepped: (() => void)[] = [];
          const shown = index.levels.map(() => new Promise<void>((go) => stepped.push(go)));
          const watching: Model = (input) => {
            steps = input.step + 1;
            stepped[input.step]?.();
            return model(input);
          };
          const options = { beamSize: 6, batchSize: 2, normalize: "none" } as const;
          let isOver = false;
          const searching = decoder.beamSearch(watching, options).finally(() => isOver = true);
          searching.catch(() => {}); // looked at below
          const { loading: arrival } = loadedIndexOf(index);
          for (let d = 0; d < places.length; d++) {
            // Levels whose last chunk is the same come together.
            const levels = places.findLastIndex((place) => place === places[d]) + 1;
            await arrival.wait(levels);
            assert.equal(arrival.levels, levels);
            if (levels < places.length) {
              // The model is asked for the step whose level is not there yet, but nothing follows.
              await shown[levels];
              await turns();
              assert.equal(steps, levels + 1);
              assert.equal(isOver, false);
              assert.throws(() => index.toBytes(), isNotLoaded);
            }
            release[d]();
          }
          const found = await searching;
          await index.ready;
          assertSameFile(index, file);
          using whole = await ConstraintIndex.open(file);
          using other = await createDecoder(whole, { backend: "wasm" });
          assert.deepEqual(found, await other.beamSearch(modelOf(RULES.shifted, 3), options));
          assert.equal(proxy.requests.length, 1);
        }));
    }

    Deno.test(`Calls on ${name} lengths that do not wait say what is not there`, () =>
      served({ [name]: file }, async ({ proxy }) => {
        using whole = await ConstraintIndex.open(file);
        const places = await placesOf(file);
        using release = hold(proxy, [places[0]]);
        using index = await ConstraintIndex.open(`${proxy.url}/${name}`, progressive);
        const levels = places.filter((place) => place === places[0]).length;
        const long = whole.sequenceAt(whole.size - 1);
        const prefix = long.slice(0, levels);
        const logits = () => new Float32Array(index.vocabSize);
        using decoder = await createDecoder(index, { backend: "wasm" });
        const absent: (() => unknown)[] = [
          () => index.has(long),
          () => index.canEnd(long),
          () => index.ordinalOf(long),
          () => index.sequenceAt(0),
          () => index.allowedTokens(prefix),
          () => decoder.maskLogits(logits(), [prefix]),
          () => index.toBytes(),
          () => index.toStream(),
        ];
        for (const call of absent) assert.throws(call, isNotLoaded, `${call}`);
        // What needs no more than is there is answered, and nonsense is what it always is.
        assert.deepEqual(index.allowedTokens([]), whole.allowedTokens([]));
        assert.equal(index.ordinalOf(prefix), whole.ordinalOf(prefix));
        assert.equal(index.has([index.vocabSize]), false);
        assert.throws(() => index.sequenceAt(index.size), RangeError);
        const masked = logits();
        decoder.maskLogits(masked, [[]]);
        assert.equal(masked.filter((x) => x === 0).length, whole.allowedTokens([]).length);
        release[0]();
        await index.ready;
        assert.deepEqual(index.sequenceAt(7), whole.sequenceAt(7));
        for (const call of absent) assert.doesNotThrow(call);
      }));
  }

  Deno.test("A search with endToken waits for the levels that may hold it", () =>
    served(FILES, async ({ proxy }) => {
      const cases: [keyof typeof FILES, BeamSearchOptions][] = [
        ["mixed", { beamSize: 9, endToken: 2 ** 16 - 1 }],
        ["mixed", { beamSize: 9, endToken: 2 ** 16, vocabSize: 2 ** 16 + 9 }],
        ["fixed", { beamSize: 9, endToken: 2048, vocabSize: 2050 }],
      ];
      for (const [name, options] of cases) {
        using whole = await ConstraintIndex.open(FILES[name]);
        using other = await createDecoder(whole, { backend: "wasm" });
        const expected = await other.beamSearch(modelOf(RULES.smooth, 5), options);
        using release = hold(proxy, [(await placesOf(FILES[name]))[0]]);
        using index = await ConstraintIndex.open(`${proxy.url}/${name}`, progressive);
        using decoder = await createDecoder(index, { backend: "wasm" });
        const searching = decoder.beamSearch(modelOf(RULES.smooth, 5), options);
        await turns();
        release[0]();
        assert.deepEqual(await searching, expected);
      }
      // Inside the windows it takes all levels to know that the token does not occur, or does.
      using release = hold(proxy, [(await placesOf(FILES.mixed))[0]]);
      using index = await ConstraintIndex.open(`${proxy.url}/mixed`, progressive);
      using decoder = await createDecoder(index, { backend: "wasm" });
      let calls = 0;
      const model: Model = ({ out }) => (calls++, out);
      const searching = decoder.beamSearch(model, { beamSize: 2, endToken: 17 });
      searching.catch(() => {}); // looked at below
      await turns();
      assert.throws(
        () => decoder.maskLogits(new Float32Array(2 ** 16), [[]], { endToken: 17 }),
        isNotLoaded,
      );
      assert.equal(calls, 0);
      release[0]();
      await assert.rejects(searching, RangeError);
      assert.equal(calls, 0);
    }));

  Deno.test("When the loading fails, ready and searches reject with the same error", () =>
    served({ index: FILES.fixed }, async ({ proxy }) => {
      const at = (await placesOf(FILES.fixed))[2];
      const opened = Promise.withResolvers<void>();
      proxy.next([
        { kind: "change", at, change: () => opened.promise },
        { kind: "cut", after: at },
      ], { kind: "status", status: 403 });
      using index = await ConstraintIndex.open(`${proxy.url}/index`, progressive);
      using decoder = await createDecoder(index, { backend: "wasm" });
      const search = () => decoder.beamSearch(modelOf(RULES.smooth), { beamSize: 3 });
      const early = search();
      early.catch(() => {}); // looked at below
      opened.resolve();
      const error = await index.ready.then(() => assert.fail("It loads"), (error) => error);
      assert.equal(error.code, "http-status");
      assert.equal(error.actual, 403);
      for (const searching of [early, search()]) {
        await assert.rejects(searching, (other) => other === error);
      }
      assert.throws(
        () => index.toBytes(),
        (other) => isNotLoaded(other) && (other as Error).cause === error,
      );
    }));

  Deno.test("A deadline and a signal hold until all is there", () =>
    served({ index: FILES.fixed }, async ({ proxy }) => {
      const places = await placesOf(FILES.fixed);
      const controller = new AbortController();
      const reason = new Error("enough");
      for (const options of [{ timeoutMs: 2000 }, { signal: controller.signal }]) {
        using _ = hold(proxy, [places[1]]);
        using index = await ConstraintIndex.open(`${proxy.url}/index`, {
          ...progressive,
          ...options,
        });
        if ("signal" in options) controller.abort(reason);
        await assert.rejects(
          index.ready,
          (error) =>
            "signal" in options ? error === reason : (error as { code: string }).code === "timeout",
        );
      }
    }));

  Deno.test("Disposing of an index that loads stops the loading", () =>
    served({ index: FILES.fixed }, async ({ proxy }) => {
      for (const parallel of [1, 4]) {
        using _ = hold(proxy, [(await placesOf(FILES.fixed))[1]]);
        const index = await ConstraintIndex.open(`${proxy.url}/index`, {
          ...progressive,
          parallel,
        });
        using decoder = await createDecoder(index, { backend: "wasm" });
        const searching = decoder.beamSearch(modelOf(RULES.smooth), { beamSize: 3 });
        searching.catch(() => {}); // looked at below
        index[Symbol.dispose]();
        const isDisposed = (error: unknown) => (error as EspalierError).code === "disposed";
        await assert.rejects(index.ready, isDisposed);
        await assert.rejects(searching, isDisposed);
        const asked = proxy.requests.length;
        await turns();
        assert.equal(proxy.requests.length, asked);
      }
    }));

  Deno.test("First levels that take no bytes are there with the header", async () => {
    const file = await commonStartFile();
    await served({ header: await headerOnlyFile(), index: file }, async ({ proxy }) => {
      using small = await ConstraintIndex.open(`${proxy.url}/header`, progressive);
      await small.ready;
      assert.ok(small.has([3, 1, 4]));
      using release = hold(proxy, [headerLength(file) - READ_BYTES]);
      using index = await ConstraintIndex.open(`${proxy.url}/index`, progressive);
      assert.deepEqual([...index.allowedTokens([])], [7]);
      assert.throws(() => index.allowedTokens([7]), isNotLoaded);
      release[0]();
      await index.ready;
      assertSameFile(index, file);
    });
  });
});
