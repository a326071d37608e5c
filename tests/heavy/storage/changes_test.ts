/** Objects that change while they are read: what opens is one version, bit for bit, or nothing. */
import assert from "node:assert/strict";
import { ConstraintIndex, IndexChangedError, type OpenOptions } from "../../../mod.ts";
import { sameBytes } from "../../support/corrupt.ts";
import type { Fault, FaultProxy } from "./servers/faults.ts";
import { nginxMissing } from "./servers/nginx.ts";
import { withServer } from "./servers/programs.ts";
import { CHUNK, type File, headerLength, levelEnds, sidFile } from "../../support/index_files.ts";
import { fails, opensAs, type Served, served } from "./support/loading.ts";

const ROWS = 330_000;
/** What stands there at first, and versions that differ from it in every chunk, or in size. */
const FIRST = await sidFile(ROWS);
const SECOND: Record<string, File> = {
  "of the same size": await sidFile(ROWS, 0x155),
  "of another size": await sidFile(ROWS + 500, 0, 2),
  "shorter": await sidFile(ROWS / 3, 0, 3),
  "longer": await sidFile(2 * ROWS, 0, 4),
};
const THIRD = await sidFile(ROWS, 0x2aa);
const HEADER = headerLength(FIRST);

assert.equal(SECOND["of the same size"].length, FIRST.length);
assert.notEqual(SECOND["of another size"].length, FIRST.length);

const TAGS: Record<string, Fault[]> = {
  "an ETag": [],
  "a hidden ETag": [{ kind: "hide-etag" }],
  "a weak ETag": [{ kind: "weak-etag" }],
  "a hidden ETag and no length": [{ kind: "hide-etag" }, { kind: "no-length" }],
};

const PLACES: Record<string, number> = {
  "before any byte": 0,
  "in the length word": 4,
  "in the header": Math.floor(HEADER / 2),
  "behind the header": HEADER,
  "in a chunk": HEADER + 1.5 * CHUNK,
  "between chunks": HEADER + 2 * CHUNK,
  "in the last chunk": FIRST.length - 1000,
};

/** Lets the object become the next version where a response is cut, or begins. */
function changing(proxy: FaultProxy, at: number, tags: Fault[], change: () => void, times = 1) {
  proxy.inject(({ range }) => {
    const [start = "0", last = ""] = range?.match(/\d+/g) ?? [];
    // As often as the loading begins; a header that is asked for alone is to see whether it is still the same.
    const isBeginning = start === "0" && (last === "" || Number(last) > CHUNK);
    if (!isBeginning || times === 0) return tags;
    times--;
    return [...tags, { kind: "change", at, change }, { kind: "cut", after: at }];
  });
}

/** Points the proxy to versions, one after the other. */
function versionsOf({ nginx, proxy }: Served): () => void {
  let version = 0;
  proxy.target = `${nginx.url}/0`;
  return () => void (proxy.target = `${nginx.url}/${++version}`);
}

await withServer("objects that change", nginxMissing(), () => {
  for (const [size, second] of Object.entries(SECOND)) {
    for (const [tag, faults] of Object.entries(TAGS)) {
      Deno.test(`An object that becomes ${size} while it is read, with ${tag}, is begun anew once`, () =>
        served({ "0/index": FIRST, "1/index": second, "2/index": THIRD }, async (served) => {
          const { proxy } = served;
          const url = `${proxy.url}/index`;
          for (const [place, at] of Object.entries(PLACES)) {
            for (const parallel of [1, 4]) {
              const options: OpenOptions = { parallel };
              changing(proxy, at, faults, versionsOf(served));
              await opensAs(url, second, options).catch((error) => {
                throw new Error(`Changed ${place}, by ${parallel}`, { cause: error });
              });
              // What was read of the former must differ from the latter, or nobody can tell.
              const isNoticed = at > 8 || at > 0 && faults.length === 0;
              if (!isNoticed || at >= second.length) continue;
              changing(proxy, at, faults, versionsOf(served), 2);
              const error = await fails(url, "changed", options).catch((error) => {
                throw new Error(`Changed ${place} twice, by ${parallel}`, { cause: error });
              });
              assert.ok(error instanceof IndexChangedError, `${error}`);
              assert.equal(error.url, url);
            }
          }
        }));
    }
  }

  Deno.test("An object that is replaced in the middle of an answer opens as it was, or as it is", () =>
    served({ index: FIRST }, async ({ proxy, put }) => {
      for (const second of Object.values(SECOND)) {
        for (const at of Object.values(PLACES)) {
          await put("index", FIRST);
          let isDone = false;
          proxy.inject(() => {
            if (isDone) return undefined;
            isDone = true;
            return { kind: "change", at, change: () => put("index", second) };
          });
          using index = await ConstraintIndex.open(`${proxy.url}/index`);
          // nginx goes on with the file that it has opened.
          assert.ok(sameBytes(index.toBytes(), FIRST));
          assert.equal(proxy.requests.length, 1);
          proxy.requests.length = 0;
        }
      }
    }));

  Deno.test("An object that is overwritten in place is never mixed, whatever its ETag says", () =>
    served({ index: FIRST }, async ({ nginx, proxy, put }) => {
      const second = SECOND["of the same size"];
      for (const parallel of [1, 4]) {
        for (const faults of Object.values(TAGS)) {
          for (const at of Object.values(PLACES)) {
            await put("index", FIRST);
            const { mtime } = await Deno.stat(`${nginx.root}/index`);
            const change = async () => {
              const file = await Deno.open(`${nginx.root}/index`, { write: true });
              for (let done = 0; done < second.length;) {
                done += await file.write(second.subarray(done));
              }
              file.close();
              // The same ETag for other bytes.
              await Deno.utime(`${nginx.root}/index`, mtime!, mtime!);
            };
            let isDone = false;
            proxy.inject(() => {
              // What nginx has sent already is of the former; the rest is asked for anew.
              const now: Fault[] = isDone
                ? []
                : [{ kind: "change", at, change }, { kind: "cut", after: at }];
              isDone = true;
              return [...faults, ...now];
            });
            using index = await ConstraintIndex.open(`${proxy.url}/index`, { parallel });
            const bytes = index.toBytes();
            assert.ok(sameBytes(bytes, FIRST) || sameBytes(bytes, second), `${at} by ${parallel}`);
          }
        }
      }
    }));

  Deno.test("An object that changes with every request is an IndexChangedError", () =>
    served({ index: FIRST }, async ({ proxy, put }) => {
      const versions = [SECOND["of the same size"], FIRST];
      for (const tags of Object.values(TAGS)) {
        let turn = 0;
        const change = () => put("index", versions[turn++ % 2]);
        proxy.inject(() => [...tags, { kind: "change", at: 2e6, change }, {
          kind: "cut",
          after: 2e6,
        }]);
        await fails(`${proxy.url}/index`, "changed");
        await fails(`${proxy.url}/index`, "changed", { parallel: 3 });
      }
    }));

  for (const [size, second] of Object.entries(SECOND)) {
    Deno.test(`An object that becomes ${size} after a progressive open fails what waits for it`, () =>
      served({ "0/index": FIRST, "1/index": second }, async (served) => {
        const { proxy } = served;
        for (const tags of Object.values(TAGS)) {
          for (const parallel of [1, 4]) {
            const change = versionsOf(served);
            let isHeld = true;
            proxy.inject(({ range }) => {
              // Ranges beyond the first are asked for when the header is there: they wait, too.
              if (!isHeld) return tags;
              const isFirst = !range || range.startsWith("bytes=0-");
              return [...tags, {
                kind: "change",
                at: isFirst ? HEADER + 1.25 * CHUNK : 0,
                change: () => opened.promise,
              }, { kind: "cut", after: isFirst ? HEADER + 1.25 * CHUNK : 0 }];
            });
            const opened = Promise.withResolvers<void>();
            using index = await ConstraintIndex.open(`${proxy.url}/index`, {
              progressive: true,
              parallel,
            });
            assert.ok(levelEnds(index, FIRST)[0] < HEADER + CHUNK);
            change();
            isHeld = false;
            opened.resolve();
            await assert.rejects(index.ready, IndexChangedError);
          }
        }
      }));
  }

  Deno.test("The second version takes the memory of the first", () =>
    served({ "0/index": SECOND.longer, "1/index": FIRST }, async (served) => {
      const { proxy } = served;
      const memories: WebAssembly.Memory[] = [];
      const { Memory } = WebAssembly;
      WebAssembly.Memory = class extends Memory {
        constructor(descriptor: WebAssembly.MemoryDescriptor) {
          super(descriptor);
          memories.push(this);
        }
      };
      try {
        for (const at of [HEADER + 1.5 * CHUNK, SECOND.longer.length - 1000]) {
          memories.length = 0;
          changing(proxy, at, [], versionsOf(served));
          await opensAs(`${proxy.url}/index`, FIRST);
          assert.equal(memories.length, 1);
          assert.ok(memories[0].buffer.byteLength < SECOND.longer.length + CHUNK);
        }
      } finally {
        WebAssembly.Memory = Memory;
      }
    }));
});
