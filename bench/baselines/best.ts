/** The best M of a stream of candidates, in JavaScript: a heap whose root is the worst of them. */

/** Makes no garbage. Ties: the lower code is better. */
export class Best {
  /** Candidates below this score cannot win. */
  worst = -Number.MAX_VALUE;
  count = 0;
  readonly scores: Float32Array;
  readonly codes: Uint32Array;
  readonly payloads: Uint32Array;
  #limit: number;

  /** @param limit how many are kept. */
  constructor(limit: number) {
    this.#limit = limit;
    this.scores = new Float32Array(limit);
    this.codes = new Uint32Array(limit);
    this.payloads = new Uint32Array(limit);
  }

  clear(): void {
    this.worst = -Number.MAX_VALUE;
    this.count = 0;
  }

  /** Considers a candidate whose score, rounded to f32, is not below `worst`; returns what `worst` is then. */
  offer(score: number, code: number, payload: number): number {
    if (this.count < this.#limit) {
      this.#up(this.count++, score, code, payload);
      if (this.count === this.#limit) this.worst = this.scores[0];
    } else if (score > this.scores[0] || code < this.codes[0]) {
      this.#down(this.count, score, code, payload);
      this.worst = this.scores[0];
    }
    return this.worst;
  }

  /** Sorts what is kept, best first; the heap is gone until {@linkcode clear}. */
  sort(): void {
    const { scores, codes, payloads } = this;
    for (let end = this.count - 1; end > 0; end--) {
      const score = scores[end];
      const code = codes[end];
      const payload = payloads[end];
      this.#set(end, scores[0], codes[0], payloads[0]);
      this.#down(end, score, code, payload);
    }
  }

  #set(i: number, score: number, code: number, payload: number): void {
    this.scores[i] = score;
    this.codes[i] = code;
    this.payloads[i] = payload;
  }

  /** Whether a candidate is worse than the one at i. */
  #isWorse(score: number, code: number, i: number): boolean {
    return score < this.scores[i] || (score === this.scores[i] && code > this.codes[i]);
  }

  /** Puts a candidate in a new place at the end. */
  #up(i: number, score: number, code: number, payload: number): void {
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#isWorse(score, code, parent)) break;
      this.#set(i, this.scores[parent], this.codes[parent], this.payloads[parent]);
      i = parent;
    }
    this.#set(i, score, code, payload);
  }

  /** Puts a candidate in the place of the root of the first `size`. */
  #down(size: number, score: number, code: number, payload: number): void {
    const { scores, codes, payloads } = this;
    let i = 0;
    for (let child = 1; child < size; child = 2 * i + 1) {
      if (child + 1 < size && this.#isWorse(scores[child + 1], codes[child + 1], child)) child++;
      if (this.#isWorse(score, code, child)) break;
      this.#set(i, scores[child], codes[child], payloads[child]);
      i = child;
    }
    this.#set(i, score, code, payload);
  }
}
