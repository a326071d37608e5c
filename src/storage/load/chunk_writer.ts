/** Puts the data of a file in its place and checks it chunk by chunk. */
import { CHUNK_BYTES, type Header, sha256 } from "../safetensors.ts";

/** Memory that the data goes to. */
export interface Destination {
  /** A view of a range of the data, valid at once. */
  view(offset: number, length: number): Uint8Array<ArrayBuffer>;
  /** Told when the first `length` bytes of the data are there and sound; `length` grows. */
  arrived?(length: number): void;
}

/** What is said of chunks. */
export interface ChunkEvents {
  /** One does not match its digest, which is given. What this throws is a failure. */
  damaged(chunk: number, digest: string): Promise<void>;
  /** Checking has failed. */
  failed(error: unknown): void;
}

/** Digests under way at once, each of a copy of its chunk: more are no faster. */
const DIGESTS_IN_FLIGHT = 4;

/** Data on its way into memory. Chunks are told apart by number, `CHUNK_BYTES` each. */
export class ChunkWriter {
  /** Bytes placed; those of damaged chunks do not count. */
  placed = 0;
  readonly header: Header;
  readonly #destination: Destination;
  readonly #isChecked: boolean;
  readonly #events: ChunkEvents;
  readonly #sound: Uint8Array;
  /** Chunks that are sound, without a gap. */
  #front = 0;
  #pending = new Set<Promise<void>>();

  constructor(
    header: Header,
    destination: Destination,
    isChecked: boolean,
    events: ChunkEvents,
  ) {
    this.header = header;
    this.#destination = destination;
    this.#isChecked = isChecked;
    this.#events = events;
    this.#sound = new Uint8Array(Math.ceil(header.dataByteLength / CHUNK_BYTES));
  }

  /** Whether digests are under way. */
  get isChecking(): boolean {
    return this.#pending.size > 0;
  }

  /** Whether so many digests are under way that nothing should be put. */
  get isCrowded(): boolean {
    return this.#pending.size >= DIGESTS_IN_FLIGHT;
  }

  /** Waits for a digest that is under way. */
  async oneChecked(): Promise<void> {
    await Promise.race(this.#pending);
  }

  /** Waits for all digests that are under way. */
  async allChecked(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  /** Offset and length of a chunk. */
  range(chunk: number): { start: number; length: number } {
    const start = chunk * CHUNK_BYTES;
    return { start, length: Math.min(CHUNK_BYTES, this.header.dataByteLength - start) };
  }

  /**
   * Copies bytes to an offset, where those before them in the chunk stand already. Each chunk that they complete is
   * another digest under way.
   */
  put(offset: number, bytes: Uint8Array): void {
    while (bytes.length > 0) {
      const chunk = Math.floor(offset / CHUNK_BYTES);
      const { start, length } = this.range(chunk);
      const part = bytes.subarray(0, start + length - offset);
      this.#destination.view(offset, part.length).set(part);
      this.placed += part.length;
      offset += part.length;
      bytes = bytes.subarray(part.length);
      if (offset === start + length) this.#check(chunk);
    }
  }

  #check(chunk: number): void {
    if (!this.#isChecked) return this.#accept(chunk);
    const { start, length } = this.range(chunk);
    const check = sha256(this.#destination.view(start, length)).then(async (digest) => {
      if (digest === this.header.chunkDigests[chunk]) return this.#accept(chunk);
      this.placed -= length;
      await this.#events.damaged(chunk, digest);
    }).catch((error) => this.#events.failed(error)).finally(() => this.#pending.delete(check));
    this.#pending.add(check);
  }

  #accept(chunk: number): void {
    this.#sound[chunk] = 1;
    const before = this.#front;
    while (this.#sound[this.#front]) this.#front++;
    if (this.#front === before) return;
    const end = Math.min(this.#front * CHUNK_BYTES, this.header.dataByteLength);
    this.#destination.arrived?.(end);
  }
}
