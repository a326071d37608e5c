/** Collects the length word and the header of a file from chunks of any size. */
import { headerByteLength, notSafetensors } from "../safetensors.ts";

const OPENING_BRACE = 0x7b;
/** Room to begin with: a damaged length word must not take memory that nobody has sent. */
const FIRST_ROOM = 2 ** 16;

/** Takes what belongs to the header, as it comes. */
export class HeaderReader {
  #bytes = new Uint8Array(8);
  /** Bytes taken. */
  length = 0;
  /** Bytes needed, as far as known. */
  expected = 8;

  /**
   * Takes what belongs to the header; returns the rest.
   *
   * @throws {IndexFormatError} as soon as this cannot be a safetensors file.
   */
  take(chunk: Uint8Array): Uint8Array {
    while (chunk.length > 0 && this.length < this.expected) {
      const part = chunk.subarray(0, this.expected - this.length);
      this.#reserve(this.length + part.length);
      this.#bytes.set(part, this.length);
      this.length += part.length;
      chunk = chunk.subarray(part.length);
      if (this.length > 8 && this.#bytes[8] !== OPENING_BRACE) throw notSafetensors(this.#bytes[8]);
      if (this.length === 8) this.expected = headerByteLength(this.#bytes);
    }
    return chunk;
  }

  /** The header once it is whole. */
  complete(): Uint8Array<ArrayBuffer> | undefined {
    const isWhole = this.length > 8 && this.length === this.expected;
    return isWhole ? this.#bytes.subarray(0, this.length) : undefined;
  }

  #reserve(length: number): void {
    if (length <= this.#bytes.length) return;
    const room = Math.min(this.expected, Math.max(FIRST_ROOM, 2 * length));
    const larger = new Uint8Array(room);
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}
