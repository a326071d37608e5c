/** The kernel contract, on WASM. */
import assert from "node:assert/strict";
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import { WasmKernel } from "../../../src/kernels/wasm/kernel.ts";
import { conformance } from "../../suites/conformance.ts";
import { assertScoresFall } from "../../suites/falling.ts";
import { runs } from "../../support/long.ts";

Deno.test("WASM kernel: every step equals exhaustive selection", async () => {
  await conformance((index) => new WasmKernel(loadedIndexOf(index)), runs(250, 5000));
});

Deno.test("WASM kernel: scores only fall", async () => {
  const level = await assertScoresFall(
    (index) => new WasmKernel(loadedIndexOf(index)),
    runs(100_000, 1_000_000),
  );
  assert.ok(level > 1000, `${level}`);
});
