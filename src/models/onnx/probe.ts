/** Tries a model: finds graphs that do not do what their names say, and those that score a run as single steps do. */
import { EspalierError } from "../../errors.ts";
import { OnnxSearch, type OnnxSessions } from "./decode_steps.ts";
import { fromHalf, type StepLogits } from "./logits.ts";
import { padPrompts } from "./prompts.ts";
import type { CacheReorder } from "./rows.ts";
import { hidesPadding, unsupported } from "./signature.ts";
import { messageOf } from "./session.ts";

/** What a trial tells. */
export interface Probed {
  /** W, logits per row. */
  readonly vocabSize: number;
  /** Why runs cannot be scored; undefined if they can. */
  readonly noRuns?: string;
}

/** Where a model is tried. */
export interface ProbeBackend<I> {
  /** Ids where models take them. */
  ids(values: readonly number[]): I;
  /** The numbers of logits [rows, positions, W], float16 as bits or not. @throws if the model cannot be served. */
  read(logits: StepLogits): Promise<ArrayLike<number>>;
  /** Makes a call that may fail without harm to the rest; throws what is wrong with it. */
  run<T>(call: () => Promise<T>): Promise<T>;
  /** Whether runs are told the length of each row. */
  readonly hasLengths: boolean;
}

/** Errors that say what is wrong with a model. */
const PLAIN = ["unsupported-model", "reads-back"];

/**
 * How far the logits of a run may be from those of single steps, relative to 1 or to themselves: float32, and half
 * precision, which has eleven bits and rounds at every layer.
 */
const TOLERANCE = { float32: 1e-4, float16: 1e-2 };

/** Tokens of the run that is tried, by row. */
const RUN = [[1, 2, 3], [4, 5]];
const WIDTH = 3;

/**
 * Runs a search of three prompts for four steps, of three rows, two, two and one: rows of fixed number are found so. In
 * between, the tokens of the later three steps go to two of the prompts as one run, which must score as they do.
 * Rows differ in length, prompts too where a mask hides that, and tokens differ: a graph in which new tokens see those
 * behind them, or padding, shows it.
 *
 * @throws {BackendError} with code `"unsupported-model"` if a step fails. A run that fails is told in `noRuns`.
 */
export async function probe<I>(
  sessions: OnnxSessions,
  reorder: CacheReorder<I>,
  { ids, read, run, hasLengths }: ProbeBackend<I>,
): Promise<Probed> {
  const { signature } = sessions;
  const isEncoder = signature.encoder !== undefined;
  // An odd number of positions: rows of half-precision numbers that are no whole words, the GPU refuses.
  const width = 3;
  const lengths = [hidesPadding(signature) ? width - 1 : width, width, width];
  const texts = lengths.map((length) => Array<number>(length).fill(0));
  const prompts = padPrompts(texts, isEncoder ? "right" : "left", 0, 1);
  await using search = new OnnxSearch(sessions, reorder, prompts, isEncoder ? 0 : undefined);
  const caches = [...signature.past, signature.decode.hidden];
  let isHalf = caches.some((cache) => cache?.type === "float16");
  const widths = new Set<number>();
  const step = async (number: number, rows: number, tokens: readonly number[]): Promise<Reader> => {
    const order = Uint32Array.from({ length: rows }, (_, row) => row);
    try {
      const move = { rows, batch: order, tokens: ids(tokens), parents: ids([...order]) };
      const logits = await search.step(number, move);
      widths.add(logits.width);
      isHalf ||= logits.tensor.type === "float16";
      return readerOf(logits, await read(logits), 1);
    } catch (error) {
      if (error instanceof EspalierError && PLAIN.includes(error.code)) throw error;
      const isRun = error instanceof EspalierError && error.code === "run-failed";
      const cause = isRun ? error.cause : error;
      throw unsupported("model", "", `fails at step ${number}: ${messageOf(cause)}`, {}, cause);
    }
  };
  await step(0, prompts.rows, []);
  const [vocabSize] = widths;
  /** Of the lower half: some models have no embeddings for their last logits. */
  const tokens = RUN.map((row) => row.map((k) => Math.floor(vocabSize * k / 10)));
  let scored: Reader | undefined;
  let noRuns: string | undefined;
  try {
    scored = await run(async () => {
      const logits = await search.scoreRun(1, {
        rows: RUN.length,
        batch: Uint32Array.of(0, 1),
        tokens: ids(tokens.flatMap((row) => Array.from({ length: WIDTH }, (_, i) => row[i] ?? 0))),
        parents: ids([0, 1]),
        width: WIDTH,
        lengths: hasLengths ? Uint32Array.from(tokens, (row) => row.length) : undefined,
      });
      return readerOf(logits, await read(logits), WIDTH);
    });
  } catch (error) {
    noRuns = whyNot(error);
  }
  let off = 0;
  for (let i = 0; i < WIDTH; i++) {
    const rows = tokens.filter((row) => i < row.length);
    const single = await step(i + 1, rows.length, rows.map((row) => row[i]));
    if (widths.size > 1) {
      throw unsupported("output", "logits", `changes its width: ${[...widths].join(", ")}`);
    }
    for (let row = 0; scored && row < rows.length; row++) {
      for (let token = 0; token < vocabSize; token++) {
        const x = single(row, 0, token);
        const y = scored(row, i, token);
        const distance = Object.is(x, y) ? 0 : Math.abs(x - y) / Math.max(1, Math.abs(x));
        off = Math.max(off, Number.isNaN(distance) ? Infinity : distance);
      }
    }
  }
  const most = isHalf ? TOLERANCE.float16 : TOLERANCE.float32;
  if (off > most) {
    noRuns = `its logits are off from those of single steps by ${
      off.toPrecision(2)
    }, more than ${most}, as where new tokens see those behind them`;
  }
  return { vocabSize, noRuns };
}

/** One of logits [rows, count, W]. */
type Reader = (row: number, position: number, token: number) => number;

/** Reads the last positions of logits. */
function readerOf(
  { tensor, positions, width }: StepLogits,
  values: ArrayLike<number>,
  count: number,
): Reader {
  const isBits = tensor.type === "float16" && values instanceof Uint16Array;
  return (row, position, token) => {
    const value = values[((row + 1) * positions - count + position) * width + token];
    return isBits ? fromHalf(value) : value;
  };
}

/** What is wrong with a run, in few words. */
function whyNot(error: unknown): string {
  const isKnown = error instanceof EspalierError;
  if (isKnown && error.code === "bad-logits-shape") {
    return "the model gives logits of the last position alone";
  }
  const cause = isKnown && error.code === "run-failed" ? error.cause : error;
  return `it fails on several tokens: ${messageOf(cause)}`;
}
