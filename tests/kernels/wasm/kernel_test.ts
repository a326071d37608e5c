/** The kernel contract, on WASM. */
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import { WasmKernel } from "../../../src/kernels/wasm/kernel.ts";
import { conformance } from "../../suites/conformance.ts";
import { runs } from "../../support/long.ts";

Deno.test("WASM kernel: every step equals exhaustive selection", async () => {
  await conformance((index) => new WasmKernel(loadedIndexOf(index)), runs(250, 5000));
});
