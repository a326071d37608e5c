/**
 * Scores only fall: no child scores higher than its parent, in float32 either. Early stop rests on that. The same for every
 * kernel.
 */
import assert from "node:assert/strict";
import type { ConstraintIndex } from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { BEAM_BITS } from "../../src/kernels/constants.ts";
import type { Kernel } from "../../src/kernels/kernel.ts";
import { Random } from "../support/models.ts";
import { allRows } from "../support/sets.ts";

const BEAMS = 256;
const BATCH = 8;

/** Steps peaked rows until so many have been compared; returns how many had a child as good as its parent. */
export async function assertScoresFall(
  open: (index: ConstraintIndex) => Kernel | Promise<Kernel>,
  rows: number,
): Promise<number> {
  let compared = 0;
  let level = 0;
  for (let vocabSize = 3; compared < rows; vocabSize = vocabSize % 61 + 3) {
    using index = await buildIndex(allRows(Math.min(vocabSize, 7), 4), { vocabSize });
    const kernel = await open(index);
    const random = new Random(vocabSize + compared);
    for (const normalize of ["vocab", "allowed"] as const) {
      using search = kernel.begin({
        batchSize: BATCH,
        beamSize: BEAMS,
        logitWidth: vocabSize,
        normalize,
        lengthPenalty: 0,
        padToken: 0,
      });
      while (search.step < 4) {
        const before = search.beams();
        const logits = new Float32Array(search.rows * vocabSize);
        for (let row = 0; row < search.rows; row++) {
          // Differences from what rounds away to what only just counts.
          const height = 8 + random.below(160) / 8;
          const at = row * vocabSize;
          for (let token = 0; token < vocabSize; token++) {
            logits[at + token] = random.below(2 ** 16) / 2 ** 14;
          }
          logits[at + random.below(vocabSize)] += height;
        }
        await search.advance(logits);
        const { scores, status } = search.beams();
        const parents = search.parents();
        for (let beam = 0; beam < scores.length; beam++) {
          if (!(status[beam] & (BEAM_BITS.LIVE | BEAM_BITS.ENDED))) continue;
          const score = before.scores[parents[beam]];
          assert.ok(scores[beam] <= score, `${scores[beam]} comes of ${score}`);
          level += Number(scores[beam] === score);
          compared++;
        }
      }
    }
    kernel[Symbol.dispose]();
  }
  return level;
}
