/** Which parts of a growing address space are in use. */

/** Ranges that were given back, and the end of what was ever taken. */
export class Allocator {
  /** Everything from here on is free. */
  end: number;
  /** Free ranges [start, end) before it, ascending, never adjacent. */
  #free: [start: number, end: number][] = [];
  #sizes = new Map<number, number>();

  /** @param start first address. */
  constructor(start: number) {
    this.end = start;
  }

  /** Where `size` could go: the first hole that is large enough, or the end. */
  find(size: number): number {
    return this.#free.find(([start, end]) => end - start >= size)?.[0] ?? this.end;
  }

  /** Takes what {@linkcode find} found. */
  take(address: number, size: number): void {
    const index = this.#free.findIndex(([start]) => start === address);
    if (index < 0) {
      this.end = address + size;
    } else {
      const range = this.#free[index];
      range[0] += size;
      if (range[0] === range[1]) this.#free.splice(index, 1);
    }
    this.#sizes.set(address, size);
  }

  /** Gives back what was taken at an address. */
  give(address: number): void {
    const size = this.#sizes.get(address);
    if (size === undefined) throw new Error(`Cannot free ${address}: it is not allocated`);
    this.#sizes.delete(address);
    let start = address;
    let end = address + size;
    const next = this.#free.findIndex(([other]) => other > address);
    let at = next < 0 ? this.#free.length : next;
    if (at < this.#free.length && this.#free[at][0] === end) end = this.#free.splice(at, 1)[0][1];
    if (at > 0 && this.#free[at - 1][1] === start) start = this.#free.splice(--at, 1)[0][0];
    if (end === this.end) this.end = start;
    else this.#free.splice(at, 0, [start, end]);
  }
}
