/** Which beams a model is shown, and how their rows are numbered. */
import { BEAM_BITS } from "./constants.ts";

/** Whether a beam goes on: the model can still extend or end it. */
export function goesOn(status: number): boolean {
  return (status & (BEAM_BITS.LIVE | BEAM_BITS.STOPPABLE)) !== 0;
}

/** The live beams of a step as rows 0, 1, … in order, for models that are shown no others. */
export class ShownRows {
  /** [rows] place of each row's beam. */
  beams: Uint32Array<ArrayBuffer>;
  /** [rows] row of the call before that each row continues; undefined before the second. */
  parents: Uint32Array<ArrayBuffer> | undefined;

  constructor(batchSize: number) {
    this.beams = Uint32Array.from({ length: batchSize }, (_, batch) => batch);
  }

  /**
   * Goes on to the beams of the next step.
   *
   * @param status [B·M] of the beams.
   * @param parents [B·M] places of the beams before that each continues.
   */
  follow(status: Uint32Array, parents: Uint32Array): void {
    const rowOf = new Map<number, number>();
    this.beams.forEach((beam, row) => rowOf.set(beam, row));
    const beams: number[] = [];
    for (let beam = 0; beam < status.length; beam++) if (goesOn(status[beam])) beams.push(beam);
    this.beams = Uint32Array.from(beams);
    this.parents = this.beams.map((beam) => rowOf.get(parents[beam])!);
  }
}
