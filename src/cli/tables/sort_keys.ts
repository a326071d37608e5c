/**
 * Rows of tokens as keys that any database sorts: words of 32 bits, compared one after the other, and bytes for what
 * does not fit into them.
 */
import { codeAt, codeBits, packRow } from "../../build/row_keys.ts";

/** Packs rows into keys, and back. */
export class RowKeys {
  /** Bits of a code. */
  readonly bits: number;
  /** Words that every key has. */
  readonly words: number;
  /** The key at hand, in the first {@linkcode RowKeys.used} places. */
  #key = new Uint32Array(64);
  #used = 0;

  constructor(vocabSize: number, words: number) {
    this.bits = codeBits(vocabSize);
    this.words = words;
  }

  /** Words of a key of so many tokens, if none is to be left over. */
  static wordsFor(vocabSize: number, length: number): number {
    return Math.ceil(length * codeBits(vocabSize) / 32);
  }

  /** Writes the key of the row data[start, end) into place i of each column; returns what does not fit. */
  pack(
    data: ArrayLike<number>,
    start: number,
    end: number,
    columns: readonly Uint32Array[],
    i: number,
  ): Uint8Array | undefined {
    const { bits, words } = this;
    const needed = Math.ceil((end - start) * bits / 32);
    if (needed > this.#key.length) this.#key = new Uint32Array(2 * needed);
    const key = this.#key;
    const at = packRow(data, start, end, bits, key, 0);
    for (let w = 0; w < words; w++) columns[w][i] = w < at ? key[w] : 0;
    if (at <= words) return undefined;
    const rest = new Uint8Array(4 * (at - words));
    const view = new DataView(rest.buffer);
    for (let w = words; w < at; w++) view.setUint32(4 * (w - words), key[w]);
    return rest;
  }

  /** Reads a key back; gives every token to `visit`. */
  unpack(
    columns: readonly Uint32Array[],
    i: number,
    rest: Uint8Array | null | undefined,
    visit: (token: number) => void,
  ): void {
    const { bits, words } = this;
    this.#used = words + (rest ? rest.length / 4 : 0);
    if (this.#used >= this.#key.length) this.#key = new Uint32Array(2 * this.#used);
    const key = this.#key;
    for (let w = 0; w < words; w++) key[w] = columns[w][i];
    if (rest) {
      const view = new DataView(rest.buffer, rest.byteOffset, rest.byteLength);
      for (let w = words; w < this.#used; w++) key[w] = view.getUint32(4 * (w - words));
    }
    const last = 32 * this.#used - bits;
    for (let at = 0; at <= last; at += bits) {
      const code = codeAt(key, at, bits);
      if (code === 0) return;
      visit(code - 1);
    }
  }
}
