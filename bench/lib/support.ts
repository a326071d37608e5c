/** What the benches share: seeded sets, timing, tables. */
import type { SequenceMatrix } from "../../src/build/mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import type { ConstraintIndex } from "../../mod.ts";

/** The paper's setting. */
export const V = 2048;
export const L = 8;
export const B = 2;
export const M = 70;

/** Uniform random SIDs, [rows, L] below V. */
export function randomSids(rows: number, seed = 1): SequenceMatrix & { data: Uint16Array } {
  const data = new Uint16Array(rows * L);
  const next = random(seed);
  for (let i = 0; i < data.length; i++) data[i] = next() & (V - 1);
  return { data, rows, length: L };
}

/** A counter through a mixing function: 32 random bits a call, no short period. */
export function random(seed: number): () => number {
  let state = Math.imul(seed, 0x85ebca6b) >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

/** Logits [steps, B·M, V] in [-4, 4). */
export function randomLogits(steps: number, width = V, seed = 7): Float32Array[] {
  const next = random(seed);
  return Array.from({ length: steps }, () => {
    const logits = new Float32Array(B * M * width);
    for (let i = 0; i < logits.length; i++) logits[i] = (next() >>> 8) * 2 ** -21 - 4;
    return logits;
  });
}

/** Index of random SIDs. */
export function randomIndex(rows: number): Promise<ConstraintIndex> {
  return buildIndex(randomSids(rows), { vocabSize: V });
}

/** Median. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** Runs a bench module of this folder in a process of its own; it prints JSON. */
export async function inProcess(
  module: string,
  ...args: string[]
): Promise<Record<string, number>> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL(module, import.meta.url).pathname, ...args],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** One line of a report: what, measured, budget. */
export function line(what: string, measured: string, budget = ""): void {
  console.log(`${what.padEnd(58)} ${measured.padStart(20)}  ${budget}`);
}

export const MB = 1e6;

/** Whether a server answers at an address. */
export async function answers(url: string): Promise<boolean> {
  try {
    await (await fetch(url)).body?.cancel();
    return true;
  } catch {
    return false;
  }
}
