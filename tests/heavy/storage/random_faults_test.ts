/** Loads with faults by chance: each ends in time, with exactly one version or with an error that says why. */
import assert from "node:assert/strict";
import { ConstraintIndex, EspalierError, type OpenOptions } from "../../../mod.ts";
import { sameBytes } from "../../support/corrupt.ts";
import { LONG } from "../../support/long.ts";
import { Random } from "../../support/models.ts";
import type { Fault, FaultProxy } from "./servers/faults.ts";
import { nginxMissing } from "./servers/nginx.ts";
import { withServer } from "./servers/programs.ts";
import { CHUNK, type File, headerLength, sidFile } from "../../support/index_files.ts";
import { served } from "./support/loading.ts";

/** To run one case again: `FAULT_SEED=17 deno test -A tests/heavy/storage/random_faults_test.ts`. */
const ONLY = Deno.env.get("FAULT_SEED");
const SEEDS = ONLY ? [Number(ONLY)] : Array.from({ length: LONG ? 1000 : 100 }, (_, i) => i);
const DEADLINE_MS = 8_000;
/** Beyond the deadline: the machine may be busy. */
const LATE_MS = 20_000;

/** Versions of an object: of the same size, other sizes, other sets. */
const VERSIONS = [
  await sidFile(330_000),
  await sidFile(330_000, 0x155),
  await sidFile(500_000, 0, 2),
  await sidFile(1_000_000, 0, 3),
];

/** Somewhere in a file, edges more often than chance would have it. */
function place(random: Random, file: File): number {
  const base = headerLength(file);
  const chunks = Math.floor((file.length - base) / CHUNK);
  return random.pick([
    random.below(file.length),
    random.below(base),
    base + CHUNK * random.between(0, chunks) + random.between(-1, 1),
    random.pick([0, 1, 7, 8, 9, base - 1, base, file.length - 1, file.length]),
  ]);
}

function fault(random: Random, file: File, change: () => void): Fault {
  const at = place(random, file);
  const kinds: (() => Fault)[] = [
    () => ({ kind: "cut", after: at, reset: random.below(2) === 0 }),
    () => ({ kind: "cut", after: at }),
    () => ({ kind: "stall", after: at }),
    () => ({ kind: "slow-first-byte", ms: random.pick([50, Infinity]) }),
    () => ({ kind: "wrong-length", by: random.pick([-1, 1, -1000, 1000]) }),
    () => ({ kind: "no-length", chunked: random.below(2) === 0 }),
    () => ({
      kind: "status",
      status: random.pick([429, 500, 502, 503, 504, 400, 403, 404, 416]),
      retryAfter: random.pick([undefined, 0, 1, 3600, "soon"]),
    }),
    () => ({ kind: "reset" }),
    () => ({ kind: "wrong-bytes", at }),
    () => ({ kind: "whole" }),
    () => ({ kind: random.pick(["hide-etag", "weak-etag"]) }),
    () => ({ kind: "change", at, change }),
    () => ({ kind: "change", at, change }),
    () => ({ kind: "change", at, change }),
    () => ({ kind: "trickle", bytes: 65536, everyMs: 1 }),
    () => ({ kind: "wrong-range", by: random.pick([-5, 3, 4096]) }),
  ];
  return random.pick(kinds)();
}

/** Copies in memory; now and then one is damaged. */
class RandomCache {
  #copy: Response | undefined;
  readonly #random: Random;

  constructor(random: Random, file: File | undefined) {
    this.#random = random;
    if (file) this.#copy = new Response(this.#damaged(file), { headers: this.#headers(file) });
  }

  #headers(file: File): Record<string, string> {
    const text = new TextDecoder().decode(file.subarray(8, headerLength(file)));
    return { "x-espalier-digest": JSON.parse(text).__metadata__.headerSha256 };
  }

  #damaged(file: File): File {
    const copy = file.slice(
      0,
      this.#random.below(3) ? file.length : this.#random.below(file.length),
    );
    if (this.#random.below(3) === 0) copy[this.#random.below(copy.length)] ^= 4;
    return copy;
  }

  match(): Promise<Response | undefined> {
    return Promise.resolve(this.#copy?.clone());
  }

  async put(_: string, response: Response): Promise<void> {
    if (this.#random.below(5) === 0) throw new Error("The cache is full");
    await response.bytes();
  }

  delete(): Promise<boolean> {
    this.#copy = undefined;
    return Promise.resolve(true);
  }
}

/** What a case is made of; the seed says all of it. */
function makeCase(seed: number, proxy: FaultProxy, origin: string) {
  const random = new Random(seed);
  const first = random.below(VERSIONS.length);
  const second = (first + random.between(1, VERSIONS.length - 1)) % VERSIONS.length;
  const change = () => void (proxy.target = `${origin}/${second}`);
  proxy.target = `${origin}/${first}`;
  const tag = random.pick<Fault[]>([[], [], [{ kind: "hide-etag" }], [{ kind: "weak-etag" }]]);
  const some = () => {
    const faults = Array.from(
      { length: random.pick([1, 1, 2]) },
      () => fault(random, VERSIONS[first], change),
    );
    // An answer goes on as it began: what has changed shows in the next.
    return faults.flatMap((fault): Fault[] =>
      fault.kind === "change" ? [fault, { kind: "cut", after: fault.at }] : [fault]
    );
  };
  const byRequest = new Map([[0, some()]]);
  // A second one, and one that does not go away.
  if (random.below(2)) byRequest.set(random.between(1, 4), some());
  const always = random.below(8) === 0 ? some() : undefined;
  const copy = random.pick([undefined, VERSIONS[first], VERSIONS[second]]);
  const options: OpenOptions = {
    parallel: random.pick([undefined, 1, 2, 4, 32]),
    progressive: random.below(2) === 0,
    verify: random.pick([undefined, true]),
    cache: random.below(3) === 0 ? new RandomCache(random, copy) as unknown as Cache : undefined,
    retries: random.pick([1, 2, 3]),
    stallTimeoutMs: 150,
    timeoutMs: DEADLINE_MS,
  };
  const decide = (n: number) => [...tag, ...always ?? byRequest.get(n) ?? []];
  return { options, decide, allowed: [VERSIONS[first], VERSIONS[second]] };
}

/** @returns what became of it. */
async function run(url: string, options: OpenOptions, allowed: File[]): Promise<string> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error("It does not end")),
    DEADLINE_MS + LATE_MS,
  );
  try {
    const opening = (async () => {
      using index = await ConstraintIndex.open(url, options);
      await index.ready;
      const bytes = index.toBytes();
      const version = allowed.findIndex((file) => sameBytes(file, bytes));
      assert.ok(version >= 0, "These are bytes of no version");
      return version === 0 ? "opened" : "opened anew";
    })();
    return await Promise.race([opening, late.promise]);
  } catch (error) {
    if (!(error instanceof EspalierError)) throw error;
    return `${error.name} ${error.code}`;
  } finally {
    clearTimeout(timer);
  }
}

await withServer("random faults", nginxMissing(), () => {
  Deno.test(`${SEEDS.length} loads with faults by chance end in time, with one version or an error`, () => {
    const files = Object.fromEntries(VERSIONS.map((file, i) => [`${i}/index`, file]));
    return served(files, async ({ nginx, proxy }) => {
      const outcomes: Record<string, number> = {};
      for (const seed of SEEDS) {
        const { options, decide, allowed } = makeCase(seed, proxy, nginx.url);
        proxy.requests.length = 0;
        proxy.inject((_, n) => decide(n));
        try {
          const outcome = await run(`${proxy.url}/index`, options, allowed);
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
          assert.ok(proxy.requests.length < 200, `${proxy.requests.length} requests`);
        } catch (cause) {
          const requests = proxy.requests.map(({ range = "all", status, faults }) =>
            `${range} ${status} ${JSON.stringify(faults)}`
          );
          const shown = Deno.inspect({ ...options, requests }, { depth: 3 });
          throw new Error(`FAULT_SEED=${seed} fails with ${shown}`, { cause });
        }
        await proxy.idle();
      }
      console.log(Object.fromEntries(Object.entries(outcomes).sort((a, b) => b[1] - a[1])));
      if (ONLY) return;
      // Else the faults would be too hard, or too easy, to tell anything.
      assert.ok(outcomes.opened > SEEDS.length / 4 && outcomes.opened < SEEDS.length * 0.95);
      assert.ok(Object.keys(outcomes).length > 4);
    });
  });
});
