/** R2, as workerd simulates it. */
import assert from "node:assert/strict";
import { type R2Bucket, r2Source } from "../../../mod.ts";
import { withServer } from "./servers/programs.ts";
import { type R2, r2Missing, startR2 } from "./servers/r2.ts";
import {
  CHUNK,
  headerLength,
  headerOnlyFile,
  sidFile,
  smallFile,
} from "../../support/index_files.ts";
import { fails, opensAs } from "./support/loading.ts";

const FILE = await sidFile(600_000);
const VERSIONS = {
  "of the same size": await sidFile(600_000, 0x155),
  "shorter": await sidFile(100_000, 0, 2),
  "longer": await sidFile(700_000, 0, 3),
};
const HEADER = headerLength(FILE);

type Range = { offset: number; length?: number } | undefined;

/** The bucket, with the ranges that were asked for; the first answers may be cut, and something happens then. */
function watched(r2: R2, cut?: { at: number; times: number; then?: () => Promise<unknown> }) {
  const ranges: Range[] = [];
  const bucket: R2Bucket = {
    async get(key, options) {
      ranges.push(options?.range);
      const object = await r2.bucket.get(key, options);
      if (!object || !cut || (options?.range?.offset ?? 0) > 0 || cut.times-- <= 0) return object;
      let left = cut.at;
      const body = object.body.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          async transform(chunk, sink) {
            sink.enqueue(chunk.subarray(0, left));
            left -= Math.min(left, chunk.length);
            if (left > 0) return;
            await cut.then?.();
            sink.error(new Error("cut"));
          },
        }),
      );
      return { body, size: object.size, etag: object.etag };
    },
  };
  return { bucket, ranges };
}

await withServer("R2", r2Missing(), () => {
  Deno.test("An index opens from R2, whole, by ranges, and step by step", async () => {
    await using r2 = await startR2();
    for (const file of [await headerOnlyFile(), await smallFile(), FILE]) {
      await r2.bucket.put("index", file);
      for (const parallel of [1, 2, 4, 32]) {
        for (const progressive of [false, true]) {
          const { bucket, ranges } = watched(r2);
          await opensAs(r2Source(bucket, "index"), file, { parallel, progressive });
          if (parallel === 1) assert.deepEqual(ranges, [undefined]);
          else assert.equal(ranges.length > 1, file === FILE);
        }
      }
    }
  });

  Deno.test("What R2 does not have is asked for once", async () => {
    await using r2 = await startR2();
    const { bucket, ranges } = watched(r2);
    const { url } = await fails(r2Source(bucket, "none"), "not-found");
    assert.deepEqual([url, ranges.length], ['R2 object "none"', 1]);
    const failing = { get: () => Promise.reject(new Error("internal error (10001)")) };
    await fails(r2Source(failing, "none"), "read-failed", { retries: 1 });
    // Longer than R2 takes.
    const long = watched(r2);
    const error = await fails(r2Source(long.bucket, "x".repeat(2000)), "refused");
    assert.deepEqual([error.cause instanceof Error, long.ranges.length], [true, 1]);
  });

  Deno.test("A stream of R2 that breaks off is continued", async () => {
    await using r2 = await startR2();
    await r2.bucket.put("index", FILE);
    for (const at of [5, HEADER, HEADER + 1.5 * CHUNK]) {
      const { bucket, ranges } = watched(r2, { at, times: 1 });
      await opensAs(r2Source(bucket, "index"), FILE);
      assert.equal(ranges.length, 2);
      const offset = ranges[1]?.offset ?? 0;
      assert.ok(offset <= at && offset > at - CHUNK, `${offset}`);
    }
  });

  for (const [size, other] of Object.entries(VERSIONS)) {
    Deno.test(`An object of R2 that becomes ${size} is begun anew once`, async () => {
      await using r2 = await startR2();
      for (const parallel of [1, 4]) {
        for (const at of [HEADER >> 1, HEADER + 1.5 * CHUNK]) {
          await r2.bucket.put("index", FILE);
          const then = () => r2.bucket.put("index", other);
          const { bucket } = watched(r2, { at, times: 1, then });
          await opensAs(r2Source(bucket, "index"), other, { parallel });
        }
        await r2.bucket.put("index", FILE);
        const files = [VERSIONS["of the same size"], FILE];
        let turn = 0;
        const then = () => r2.bucket.put("index", files[turn++ % 2]);
        const { bucket } = watched(r2, { at: HEADER + 1.5 * CHUNK, times: Infinity, then });
        await fails(r2Source(bucket, "index"), "changed", { parallel });
      }
    });
  }
});
