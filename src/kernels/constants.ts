/** Numbers that the kernels of all backends share. asm/build.ts and the shaders generate their constants from these. */
import { MAX_VOCAB } from "../index/format/layout.ts";
import type { Normalize } from "./kernel.ts";

/** How logits become log-probabilities, numbered in this order. */
export const NORMALIZE_MODES = [
  "vocab",
  "allowed",
  "none",
] as const satisfies readonly Normalize[];

/** Beam arrays of B·M words each, in this order. */
export const BEAM_FIELDS = [
  "BEAM_SCORE",
  "BEAM_STATE",
  "BEAM_EDGE",
  "BEAM_LENGTH",
  "BEAM_STATUS",
] as const;

/** Status of a beam, bits. 0: it is dead. */
export const BEAM_BITS = {
  /** It has children. */
  LIVE: 1,
  /** It is on an end and may stop at the next step. */
  STOPPABLE: 2,
  /** It has stopped: it keeps its score and competes with it. */
  ENDED: 4,
} as const;

/** Token code of the candidate "stop": after every token. */
export const STOP = MAX_VOCAB;

/** The constants that AssemblyScript and WGSL write alike, by name. */
export const KERNEL_CONSTANTS: Readonly<Record<string, number>> = {
  ...BEAM_BITS,
  ...Object.fromEntries(NORMALIZE_MODES.map((name, i) => [`MODE_${name.toUpperCase()}`, i])),
  STOP,
};
