/** The kernel contract, on WASM. */
import { storageOf } from "../src/index/constraint_index.ts";
import { WasmKernel } from "../src/kernels/wasm/kernel.ts";
import { conformance } from "./support/conformance.ts";
import { runs } from "./support/long.ts";

Deno.test("WASM kernel: every step equals exhaustive selection", async () => {
  await conformance((index) => {
    const storage = storageOf(index);
    return {
      kernel: new WasmKernel(storage),
      place(words) {
        const address = storage.heap.allocate(words.byteLength);
        storage.heap.u32(address, words.length).set(words);
        return address;
      },
    };
  }, runs(250, 5000));
});
