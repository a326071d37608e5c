/** What the WASM kernel reads of a search: one record of u32 words, and the beam arrays. */

/** Fields of the search record, one u32 each, in this order. */
export const SEARCH_FIELDS = [
  /** Address of the level's record, or 0 when no level is left. */
  "LEVEL",
  "STEP",
  /** 1 at step 0, then M. */
  "ROWS_PER_BATCH",
  /** M */
  "BEAMS",
  /** W */
  "WIDTH",
  /** 0 = vocab, 1 = allowed, 2 = none */
  "MODE",
  /** 0xFFFFFFFF if none. */
  "END_TOKEN",
  "PAD_TOKEN",
  /** 0 if all. */
  "TOKENS_PER_BEAM",
  /** Beam arrays that the step reads, and those that it writes. */
  "INPUT",
  "OUTPUT",
  /** Bytes from one beam array to the next: 4·B·M. */
  "BEAM_STRIDE",
  /** [B·M] u32 each, what the model is shown next. */
  "TOKENS_OUT",
  "PARENTS_OUT",
  /** Candidates of 16 bytes: of the batch row, and of one row for TOKENS_PER_BEAM. */
  "BUFFER",
  "BUFFER_SIZE",
  "ROW_BUFFER",
  "ROW_BUFFER_SIZE",
  /** One row of f32, widened from f16. */
  "SCRATCH",
  /** Allowed logits of a row: MAX_BRANCH + 1 of f32. */
  "GATHER",
  /** [M] u32 each: the rows of the beams at hand. */
  "ROW_BEGINS",
  "ROW_ENDS",
  "ROW_TOUCHED",
  /** [maxLength + 2] f32: length^-lengthPenalty. */
  "LENGTH_NORMS",
  /** [steps, B] records of `RULE_FIELDS`; or 0 where all is allowed. */
  "RULES",
  /** Bytes from the records of a step to those of the next. */
  "RULES_STRIDE",
  /** [B·M] addresses of the logits of each row. Rows that are not live have none. */
  "ROW_LOGITS",
] as const;

/** Forms of logits that a step is given, numbered in this order: the last are rows of float32 whose ends were marked. */
export const LOGITS_FORMS = ["FLOAT32", "FLOAT16", "MARKED"] as const;
/** The mark: a NaN that no arithmetic makes, at both ends of a row until a model writes it. */
export const UNWRITTEN = 0x7fc5e1ea;
