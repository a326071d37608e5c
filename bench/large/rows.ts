/** The same random rows in three forms: a matrix in a `.npy` file, and Parquet files that DuckDB writes. */
import { npyHeader } from "../../src/cli/numpy/write.ts";
import { L, random, V } from "../lib/support.ts";

/** Most rows: then the generator, a counter of 32 bits, would begin anew. */
export const MOST_ROWS = 2 ** 32 / L;

const SEED = 1;
const BLOCK_ROWS = 1 << 16;

/**
 * Writes random SIDs, [rows, L] of uint16 below V, as a `.npy` file, in blocks of 1 MiB.
 *
 * @throws the reason of `signal`, once it is aborted.
 */
export async function writeNpy(file: string, rows: number, signal: AbortSignal): Promise<void> {
  await Deno.writeFile(file, ReadableStream.from(blocks(rows)), { signal });
}

function* blocks(rows: number): Generator<Uint8Array<ArrayBuffer>, void, void> {
  yield npyHeader("<u2", [rows, L]);
  const next = random(SEED);
  for (let row = 0; row < rows; row += BLOCK_ROWS) {
    const view = new DataView(new ArrayBuffer(2 * L * Math.min(BLOCK_ROWS, rows - row)));
    for (let at = 0; at < view.byteLength; at += 2) view.setUint16(at, next() & (V - 1), true);
    yield new Uint8Array(view.buffer);
  }
}

/** Parquet files by what they hold: what DuckDB selects from the tokens of a row, and flags that say where they are. */
export const PARQUET_FORMS = {
  lists: { select: (tokens) => `[${tokens.join(", ")}] as sid`, flags: ["--sequence", "sid"] },
  columns: {
    select: (tokens) => tokens.map((token, level) => `${token} as c${level}`).join(", "),
    flags: ["--columns", "c*"],
  },
} as const satisfies Record<string, ParquetForm>;

interface ParquetForm {
  readonly select: (tokens: readonly string[]) => string;
  readonly flags: readonly string[];
}

/**
 * SQL that writes the rows of {@linkcode writeNpy} as a Parquet file. It repeats `random` of bench/lib/support.ts; the digests
 * of the indexes tell whether the rows are the same.
 */
export function parquetSql(file: string, rows: number, { select }: ParquetForm): string {
  const start = Math.imul(SEED, 0x85ebca6b) >>> 0;
  const tokens = Array.from({ length: L }, (_, level) => `token(row * ${L} + ${level + 1})`);
  return `
    create macro low(x) as x & ${0xffffffff}::ubigint;
    create macro state(call) as low(${start}::ubigint + call * ${0x9e3779b9}::ubigint);
    create macro first(z) as low(xor(z, z >> 16) * ${0x21f0aaad}::ubigint);
    create macro second(z) as low(xor(z, z >> 15) * ${0x735a2d97}::ubigint);
    create macro last(z) as (xor(z, z >> 15) & ${V - 1})::usmallint;
    create macro token(call) as last(second(first(state(call::ubigint))));
    copy (select ${select(tokens)} from range(${rows}) as rows(row)) to '${file}'`;
}
