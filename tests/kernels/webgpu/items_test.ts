/** Items of shared sequences, on WebGPU: any adapter, the software one in CI. */
import { createDecoder } from "../../../mod.ts";
import { itemSuite } from "../../suites/items.ts";
import { withDevice } from "../../support/gpu.ts";

await withDevice("items on WebGPU", (device) => {
  itemSuite("WebGPU", (index) => createDecoder(index, { backend: "webgpu", device }), 30, 10_000);
});
