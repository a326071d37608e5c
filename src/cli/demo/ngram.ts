/**
 * An n-gram language model over bytes, fitted in a second.
 *
 * All positions of all names are radix-sorted by the bytes before them, nearest first. Every context
 * is then one run of that order and the contexts form a tree whose children stand side by side:
 * level-ordered compressed sparse rows once more, with no hash table in sight.
 *
 * Smoothing is interpolated Kneser–Ney with one discount per order: a shorter context counts in how
 * many longer contexts a byte follows it, not how often.
 */

/** Tokens of the model: 256 bytes and the end of the name. */
export const TOKENS = 257;
/** The token that ends a name. */
export const END = 256;
/** Stands before the first byte of a name; no name contains it. */
export const START = 0;

/** Probabilities of the next byte, given the bytes before it. */
export interface NgramModel {
  /** The longest context, in bytes. */
  readonly order: number;
  /** Contexts in all. */
  readonly contexts: number;
  /**
   * Writes P(token | context) for all 257 tokens into `out`; they sum to 1. `context[end - 1]` is the
   * last byte; reading stops at START.
   */
  probabilities(context: ArrayLike<number>, end: number, out: Float64Array): void;
}

/** One order of the tree: contexts of equal length, in sorted order, and what followed them. */
interface Level {
  /** [contexts] farthest byte of the context, under which the shorter context knows it. */
  label: Uint8Array;
  /** [contexts + 1] where the contexts that are one byte longer begin in the next level. */
  child: Uint32Array;
  /** [contexts + 1] where the tokens that follow begin. */
  edge: Uint32Array;
  /** [edges] */
  token: Uint16Array;
  /** [edges] how often the token follows, in Kneser–Ney's sense. */
  count: Float64Array;
}

/** Fits the model. `weights[i]`, at least 1, says how often name i counts. */
export function fitNgrams(
  names: readonly Uint8Array[],
  weights: ArrayLike<number>,
  order: number,
): NgramModel {
  const text = flatten(names, weights, order);
  const sorted = sortPositions(text, order);
  const shared = sharedContexts(text, sorted, order);
  const levels: Level[] = [];
  for (let depth = 0; depth <= order; depth++) {
    levels.push(buildLevel(text, sorted, shared, depth, depth === order));
  }
  for (let depth = 0; depth < order; depth++) countContinuations(levels[depth], levels[depth + 1]);
  return interpolate(levels);
}

interface Text {
  /** `order` times START before every name, then its bytes. */
  bytes: Uint8Array;
  /** [positions] where the token to be predicted stands in `bytes`; its context is what precedes. */
  targets: Uint32Array;
  /** [positions] the token to be predicted. */
  tokens: Uint16Array;
  /** [positions] weight of its name. */
  weights: Float64Array;
}

function flatten(names: readonly Uint8Array[], weights: ArrayLike<number>, order: number): Text {
  let total = 0;
  for (const name of names) total += name.length;
  const positions = total + names.length;
  const text: Text = {
    bytes: new Uint8Array(total + names.length * order),
    targets: new Uint32Array(positions),
    tokens: new Uint16Array(positions),
    weights: new Float64Array(positions),
  };
  let at = 0;
  let position = 0;
  names.forEach((name, i) => {
    at += order; // START is zero, which the array holds already
    text.bytes.set(name, at);
    for (let j = 0; j <= name.length; j++) {
      text.targets[position] = at + j;
      text.tokens[position] = j < name.length ? name[j] : END;
      text.weights[position++] = weights[i];
    }
    at += name.length;
  });
  return text;
}

/** Positions in order of their contexts, nearest byte first: one stable counting sort per byte. */
function sortPositions({ bytes, targets }: Text, order: number): Uint32Array {
  const positions = targets.length;
  let from = Uint32Array.from(targets, (_, i) => i);
  let to = new Uint32Array(positions);
  for (let back = order; back >= 1; back--) {
    const next = new Uint32Array(257);
    for (let i = 0; i < positions; i++) next[bytes[targets[i] - back] + 1]++;
    for (let byte = 0; byte < 256; byte++) next[byte + 1] += next[byte];
    for (let i = 0; i < positions; i++) to[next[bytes[targets[from[i]] - back]]++] = from[i];
    [from, to] = [to, from];
  }
  return from;
}

/** [positions] how many bytes of context each sorted position shares with the one before it. */
function sharedContexts({ bytes, targets }: Text, sorted: Uint32Array, order: number): Uint8Array {
  const shared = new Uint8Array(sorted.length);
  for (let i = 1; i < sorted.length; i++) {
    const a = targets[sorted[i - 1]];
    const b = targets[sorted[i]];
    let length = 0;
    while (length < order && bytes[a - length - 1] === bytes[b - length - 1]) length++;
    shared[i] = length;
  }
  return shared;
}

/** The contexts of `depth` bytes with their raw counts. */
function buildLevel(
  { bytes, targets, tokens, weights }: Text,
  sorted: Uint32Array,
  shared: Uint8Array,
  depth: number,
  last: boolean,
): Level {
  const label: number[] = [];
  const child: number[] = [0];
  const edge: number[] = [0];
  const token: number[] = [];
  const count: number[] = [];
  const tally = new Float64Array(TOKENS);
  let children = 0;
  for (let i = 0; i < sorted.length;) {
    const target = targets[sorted[i]];
    // Where the context has reached the start of the name it is whole: nothing longer exists.
    const beyond = depth > 1 && bytes[target - depth + 1] === START;
    const whole = depth > 0 && bytes[target - depth] === START;
    const firstEdge = token.length;
    do {
      if (!beyond) {
        if (!whole && !last && (shared[i] <= depth || i === 0)) children++;
        const next = tokens[sorted[i]];
        if (tally[next] === 0) token.push(next);
        tally[next] += weights[sorted[i]];
      }
      i++;
    } while (i < sorted.length && shared[i] >= depth);
    if (beyond) continue;
    for (let e = firstEdge; e < token.length; e++) {
      count.push(tally[token[e]]);
      tally[token[e]] = 0;
    }
    label.push(depth > 0 ? bytes[target - depth] : START);
    child.push(children);
    edge.push(token.length);
  }
  return {
    label: Uint8Array.from(label),
    child: Uint32Array.from(child),
    edge: Uint32Array.from(edge),
    token: Uint16Array.from(token),
    count: Float64Array.from(count),
  };
}

/** Replaces raw counts by the number of longer contexts that the token follows. */
function countContinuations(level: Level, longer: Level): void {
  const tally = new Uint32Array(TOKENS);
  for (let node = 0; node < level.label.length; node++) {
    const firstEdge = longer.edge[level.child[node]];
    const endEdge = longer.edge[level.child[node + 1]];
    if (firstEdge === endEdge) continue; // a whole context has no longer one: its counts stay
    for (let e = firstEdge; e < endEdge; e++) tally[longer.token[e]]++;
    for (let e = level.edge[node]; e < level.edge[node + 1]; e++) {
      level.count[e] = tally[level.token[e]];
      tally[level.token[e]] = 0;
    }
  }
}

function interpolate(levels: readonly Level[]): NgramModel {
  const discounts = levels.map(discountOf);
  return {
    order: levels.length - 1,
    contexts: levels.reduce((sum, level) => sum + level.label.length, 0),
    probabilities(context, end, out) {
      out.fill(1 / TOKENS);
      let node = 0;
      for (let depth = 0;; depth++) {
        mix(levels[depth], node, discounts[depth], out);
        if (depth + 1 === levels.length) return;
        const byte = depth < end ? context[end - 1 - depth] : START;
        node = findChild(levels[depth], levels[depth + 1], node, byte);
        if (node < 0) return;
      }
    },
  };
}

/** Ney's estimate of what a seen token must give up to the unseen ones: n1 / (n1 + 2 n2). */
function discountOf({ count }: Level): number {
  let once = 0;
  let twice = 0;
  for (const c of count) {
    if (c === 1) once++;
    else if (c === 2) twice++;
  }
  return once === 0 ? 0.5 : once / (once + 2 * twice);
}

/** One step of interpolation: what the shorter context said, scaled to the mass given up here. */
function mix(level: Level, node: number, discount: number, out: Float64Array): void {
  const begin = level.edge[node];
  const end = level.edge[node + 1];
  let total = 0;
  for (let e = begin; e < end; e++) total += level.count[e];
  if (total === 0) return;
  const backoff = discount * (end - begin) / total;
  for (let t = 0; t < TOKENS; t++) out[t] *= backoff;
  for (let e = begin; e < end; e++) out[level.token[e]] += (level.count[e] - discount) / total;
}

/** The child of `node` whose farthest byte is `byte`, or -1. Siblings stand in ascending order. */
function findChild(level: Level, longer: Level, node: number, byte: number): number {
  let low = level.child[node];
  let high = level.child[node + 1];
  const end = high;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (longer.label[middle] < byte) low = middle + 1;
    else high = middle;
  }
  return low < end && longer.label[low] === byte ? low : -1;
}
