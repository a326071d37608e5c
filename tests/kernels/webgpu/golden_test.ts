/** Published results, against the search on WebGPU: any adapter, the software one in CI. */
import { type ConstraintIndex, createDecoder } from "../../../mod.ts";
import { goldenSuite } from "../../suites/golden.ts";
import { GoldenGpuModel, withDevice } from "../../support/gpu.ts";

await withDevice("published results on WebGPU", (device) => {
  const open = (index: ConstraintIndex) => createDecoder(index, { backend: "webgpu", device });
  goldenSuite("WebGPU, model on the CPU", open);
  goldenSuite(
    "WebGPU, model on the GPU",
    open,
    (width, rows) => new GoldenGpuModel(device, width, rows),
  );
});
