/** The uniform record that every kernel of a step reads: one level of the index, and the search. */
import { LEVEL_FIELDS } from "../../../index/format/layout.ts";

/** Fields of the search, one u32 each, behind those of the level. */
export const STEP_FIELDS = [
  "STEP",
  /** Rows in all, and per batch row: 1 at step 0, then M. */
  "ROWS",
  "ROWS_PER_BATCH",
  /** M */
  "BEAMS",
  /** W */
  "WIDTH",
  /** Logits: first element, elements from row to row, whether they are f16. */
  "LOGITS_OFFSET",
  "LOGITS_STRIDE",
  "LOGITS_HALF",
  /** 0 = vocab, 1 = allowed, 2 = none */
  "MODE",
  /** 0xFFFFFFFF if none. */
  "END_TOKEN",
  "PAD_TOKEN",
  /** Words of one beam array. */
  "BEAM_STRIDE",
  /** Candidates that a row may keep, "stop" aside, and where the records of the rows start. */
  "KEEP",
  "RECORDS_AT",
  /** Workgroups in x: rows beyond 65535 go to y. */
  "GRID_X",
  /** Word of the search's data where the rules of the step start, 8 for each batch row; NONE if all is allowed. */
  "RULES_AT",
  /** K if the search may stop early, else 0. */
  "RESULTS",
  /** Length whose factor bounds the rank of what comes of a live beam; 0 where there is no length penalty. */
  "FARTHEST",
  /** Whether logits are those of runs: 0 = no, 1 = their first position, 2 = a later one. */
  "RUN",
] as const;

/** All fields in order. */
export const PARAM_FIELDS = [...LEVEL_FIELDS, ...STEP_FIELDS] as const;

/** A record. */
export type Params = Record<typeof PARAM_FIELDS[number], number>;

/** Bytes between records: dynamic offsets of uniform buffers are multiples of 256. */
export const PARAM_BYTES = 256;

/** The record as WGSL declares it. */
export const PARAM_STRUCT = `struct Params {
${PARAM_FIELDS.map((name) => `  ${name}: u32,`).join("\n")}
}
`;

/** Addresses of the level's sections, which the GPU reads as word numbers in the level's own binding. */
export const ADDRESS_FIELDS = LEVEL_FIELDS.filter((name) =>
  /^(TOKENS|STARTS|INNER|END)(_RANK|_SELECT)?$/.test(name)
);
