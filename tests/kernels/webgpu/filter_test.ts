/** Filtered searches on WebGPU: any adapter, the software one in CI. */
import { createDecoder } from "../../../mod.ts";
import { filterSuite } from "../../suites/filter.ts";
import { withDevice } from "../../support/gpu.ts";

await withDevice("filters on WebGPU", (device) => {
  filterSuite("WebGPU", (index) => createDecoder(index, { backend: "webgpu", device }), 75, 10_000);
});
