/** What saves the model work, on WebGPU: any adapter, the software one in CI. */
import assert from "node:assert/strict";
import { type BeamSearchOptions, createDecoder, type GpuModel } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { loadedIndexOf } from "../../../src/index/constraint_index.ts";
import { liveBuffers } from "../../../src/kernels/webgpu/device.ts";
import { WebGpuKernel } from "../../../src/kernels/webgpu/kernel.ts";
import { assertScoresFall } from "../../suites/falling.ts";
import { workSuite } from "../../suites/work.ts";
import { countReadbacks, GoldenGpuModel, type GpuLayout, withDevice } from "../../support/gpu.ts";
import { runs } from "../../support/long.ts";
import { Random } from "../../support/models.ts";

await withDevice("work on WebGPU", (device) => {
  workSuite("WebGPU", (index) => createDecoder(index, { backend: "webgpu", device }), 40, 2000);

  Deno.test("WebGPU kernel: scores only fall", async () => {
    const level = await assertScoresFall(
      (index) => WebGpuKernel.create(loadedIndexOf(index), device),
      runs(15_000, 1_000_000),
    );
    assert.ok(level > 150, `${level}`);
  });

  /** Rows whose first levels are narrow, and whose last are unary. */
  function tails(mixed: boolean): number[][] {
    const random = new Random(Number(mixed));
    const starts = [[0, 3, 1], [0, 3, 2], [2, 5, 1], [2, 6, 0], [2, 6, 7], [4, 1, 1], [4, 1, 6]];
    return starts.map((start) => {
      const rest = Array.from({ length: mixed ? random.between(1, 4) : 4 }, () => random.below(9));
      return [...start, ...rest];
    });
  }

  const layouts: GpuLayout[] = [
    { type: "float32", extra: 0, front: 0 },
    { type: "float16", extra: 3, front: 5 },
  ];
  const cases: Partial<BeamSearchOptions>[] = [
    {},
    { endToken: 10, lengthPenalty: 1 },
    { normalize: "none", exclude: [[0, 5], undefined] },
    { normalize: "allowed", endToken: 9 },
    { results: 2, endToken: 10 },
    { results: 1, lengthPenalty: -1, exclude: [undefined, [3]] },
  ];
  for (const mixed of [false, true]) {
    for (const [number, more] of cases.entries()) {
      const title = `Runs and narrow steps on the GPU, ${mixed ? "several lengths" : "one length"}`;
      Deno.test(`${title}, ${JSON.stringify(more)}`, async () => {
        const before = liveBuffers.get(device) ?? 0;
        const rows = tails(mixed);
        using index = await buildIndex(rows, { vocabSize: 9 });
        using filter = index.filter([0, 1, 3, 4, 5, 6]);
        const layout = layouts[number % 2];
        const options = { batchSize: 2, beamSize: 5, vocabSize: 11, ...more };
        const filtered = { ...options, filter: number % 2 ? filter : undefined };
        const search = async (model: GpuModel) => {
          using decoder = await createDecoder(index, { backend: "webgpu", device });
          return await decoder.beamSearch(model, filtered);
        };
        const plain = new GoldenGpuModel(device, 11, 10, { layout });
        const saving = new GoldenGpuModel(device, 11, 60, { layout, liveRows: true, runs: true });
        const expected = await search(plain);
        const readbacks = await countReadbacks(async () => {
          assert.deepEqual(await search(saving), expected);
        });
        assert.equal(readbacks, 1);
        // Three choices in front, then the rest in one.
        assert.equal(saving.steps, 4);
        assert.equal(plain.steps, index.maxLength + Number(more.endToken !== undefined));
        // The first levels have three and four prefixes: so many rows.
        const width = plain.steps - 3;
        assert.equal(saving.positions, 2 * (1 + 3 + 4 + 5 * width));
        plain.destroy();
        saving.destroy();
        assert.equal(liveBuffers.get(device) ?? 0, before);
      });
    }
  }
});
