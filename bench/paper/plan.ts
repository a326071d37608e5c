/** What the paper's experiments consist of: a list of points, each measured on its own. */

/** Methods by name; the first is ours. `webgpu` runs where there is an adapter. */
export const METHODS = [
  "espalier",
  "webgpu",
  "publishedCsr",
  "ppvApproximate",
  "hashBitmapLazy",
  "hashBitmap",
  "ppvExact",
  "flatTrie",
  "mapTrie",
  "npmTrie",
] as const;
export type MethodName = typeof METHODS[number];

export const EXPERIMENTS = ["items", "vocab", "branch", "sharp"] as const;
export type Experiment = typeof EXPERIMENTS[number];
export type Effort = "quick" | "full";

/** One method on one set. */
export interface Point {
  readonly experiment: Experiment;
  readonly method: MethodName;
  readonly rows: number;
  readonly length: number;
  readonly vocabSize: number;
  /** Children of each state of the last level; undefined where the set is uniform. */
  readonly branch?: number;
  /**
   * What a model that knows the set adds to the logits of tokens that may follow. Logits are then those of the
   * prefix of a row; undefined where they are those of its place.
   */
  readonly boost?: number;
  readonly batchSize: number;
  readonly beamSize: number;
  readonly effort: Effort;
}

/** How long a point may take, and how much memory, in all. */
export interface Caps {
  readonly seconds: number;
  readonly bytes: number;
  /** Repeats end at the first of both, but not before three. */
  readonly repeats: number;
  readonly measureSeconds: number;
}

const SIZES = {
  quick: {
    items: [1e5, 1e6],
    vocab: { rows: 1e5, sizes: [256, 8192] },
    branch: { rows: 1e5, factors: [2, 256, 16384] },
    sharp: { rows: 1e5, boosts: [0, 4, 8] },
  },
  full: {
    items: [1e5, 1e6, 1e7, 2e7, 1e8],
    vocab: { rows: 1e7, sizes: [256, 8192, 32768] },
    branch: { rows: 1e6, factors: [1, 4, 7, 9, 11, 14, 16, 18].map((exponent) => 2 ** exponent) },
    sharp: { rows: 1e7, boosts: [0, 4, 8] },
  },
};

/** The paper's shape of a search. */
const SHAPE = { length: 8, batchSize: 2, beamSize: 70 };
const V = 2048;

/**
 * All points, small sets first. What `items` has at V = 2048 belongs to `vocab`, too, and is measured once.
 *
 * @param hasGpu whether `webgpu` is among the methods.
 */
export function plan(effort: Effort, hasGpu: boolean): Point[] {
  const { items, vocab, branch, sharp } = SIZES[effort];
  const sets = [
    ...items.map((rows) => ({ experiment: "items" as const, rows, vocabSize: V })),
    ...vocab.sizes.map((vocabSize) => ({
      experiment: "vocab" as const,
      rows: vocab.rows,
      vocabSize,
    })),
    ...branch.factors.map((factor) => ({
      experiment: "branch" as const,
      rows: branch.rows,
      vocabSize: Math.max(V, factor),
      branch: factor,
    })),
    ...sharp.boosts.map((boost) => ({
      experiment: "sharp" as const,
      rows: sharp.rows,
      vocabSize: V,
      boost,
    })),
  ];
  // The logits of `sharp` are laid out for the beams of a method on the CPU: on a GPU ties may fall otherwise.
  const runs = (method: MethodName, experiment: Experiment) =>
    method !== "webgpu" || hasGpu && experiment !== "sharp";
  return sets.sort((a, b) => a.rows - b.rows)
    .flatMap((set) =>
      METHODS.filter((method) => runs(method, set.experiment))
        .map((method) => ({ ...set, ...SHAPE, method, effort }))
    );
}

/** Caps of a point on a machine with so much memory. */
export function capsOf(effort: Effort, machineBytes: number): Caps {
  const bytes = Math.floor(0.8 * machineBytes);
  return effort === "quick"
    ? { seconds: 25, bytes: Math.min(bytes, 4e9), repeats: 60, measureSeconds: 1.5 }
    : { seconds: 900, bytes, repeats: 100, measureSeconds: 10 };
}

/** Roughly how much longer a point takes than one of a small set: for the time that is left. */
export function weightOf({ rows, vocabSize }: Point): number {
  return 1 + rows / 2e5 + vocabSize / 4096;
}
