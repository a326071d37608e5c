/** Tables in every form that `cli build` reads, written from rows. */
import { parquetWriteBuffer } from "hyparquet-writer";
import { equallyLong } from "./sets.ts";

/** A table: the same rows, in one form. */
export interface TableFile {
  name: string;
  content: string | Uint8Array;
  /** Flags that say where the tokens are. */
  flags: string[];
}

/** Columns beside the tokens. */
export interface Beside {
  ids?: readonly (string | bigint)[];
  flags?: readonly boolean[];
}

type Rows = readonly (readonly number[])[];
type Maker = (rows: Rows, beside: Beside) => TableFile | undefined;

const lines = (values: readonly unknown[]) => values.map((value) => `${value}\n`).join("");
const longest = (rows: Rows) => Math.max(...rows.map((row) => row.length));
const levels = (rows: Rows) => Array.from({ length: longest(rows) }, (_, i) => `c${i}`);
const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;

/** An object for JSON lines: large integers as strings. */
function objectOf(tokens: Record<string, unknown>, { ids, flags }: Beside, i: number): string {
  const id = ids && { id: String(ids[i]) };
  return JSON.stringify({ ...tokens, ...id, ...(flags && { stock: flags[i] }) });
}

function delimited(
  rows: Rows,
  { ids, flags }: Beside,
  separator: string,
  header: string[],
  cells: (row: readonly number[]) => string[],
): string {
  const head = [...header, ...(ids ? ["id"] : []), ...(flags ? ["stock"] : [])];
  const body = rows.map((row, i) => [
    ...cells(row),
    ...(ids ? [quoted(String(ids[i]))] : []),
    ...(flags ? [String(flags[i])] : []),
  ]);
  return lines([head, ...body].map((cells) => cells.join(separator)));
}

function besideColumns({ ids, flags }: Beside) {
  const isText = typeof ids?.[0] === "string";
  return [
    ...(ids
      ? [{ name: "id", data: [...ids], type: isText ? "STRING" as const : "INT64" as const }]
      : []),
    ...(flags ? [{ name: "stock", data: [...flags], type: "BOOLEAN" as const }] : []),
  ];
}

/** A matrix of integers as a `.npy` file. */
export function npyMatrix(rows: Rows, descr: string, isFortran = false): Uint8Array {
  const size = Number(descr[2]);
  const [count, length] = [rows.length, rows[0].length];
  const order = isFortran ? "True" : "False";
  const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${count}, ${length}), }`;
  const bytes = new Uint8Array(128 + count * length * size).fill(0x20, 0, 128);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, 118, 0]);
  bytes.set(new TextEncoder().encode(text), 10);
  bytes[127] = 0x0a;
  const view = new DataView(bytes.buffer);
  rows.forEach((row, i) =>
    row.forEach((token, j) => {
      const at = 128 + size * (isFortran ? j * count + i : i * length + j);
      if (size === 8) view.setBigUint64(at, BigInt(token), descr[0] !== ">");
      else if (size === 4) view.setUint32(at, token, descr[0] !== ">");
      else if (size === 2) view.setUint16(at, token, descr[0] !== ">");
      else view.setUint8(at, token);
    })
  );
  return bytes;
}

function npy(descr: string, isFortran = false): Maker {
  return (rows, { ids, flags }) => {
    const largest = Math.max(...rows.flat());
    const limit = 2 ** (8 * Number(descr[2]) - Number(descr[1] === "i"));
    if (ids || flags || !equallyLong(rows as number[][]) || largest >= limit) return undefined;
    return { name: "x.npy", content: npyMatrix(rows, descr, isFortran), flags: [] };
  };
}

/** A Parquet file with a column of lists, three levels deep as Arrow and DuckDB write it. */
export function parquetLists(
  rows: Rows,
  beside: Beside,
  rowGroupSize = 7,
  type: "INT32" | "INT64" = "INT32",
): Uint8Array {
  const cells = (row: readonly number[]) => type === "INT64" ? row.map(BigInt) : [...row];
  const more = besideColumns(beside);
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "sid", data: rows.map(cells) },
      ...more.map(({ name, data }) => ({ name, data })),
    ],
    schema: [
      { name: "root", num_children: 1 + more.length },
      { name: "sid", repetition_type: "OPTIONAL", converted_type: "LIST", num_children: 1 },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", repetition_type: "OPTIONAL", type },
      ...more.map(({ name, type }) => ({
        name,
        repetition_type: "OPTIONAL" as const,
        type: type === "STRING" ? "BYTE_ARRAY" as const : type,
        ...(type === "STRING" ? { converted_type: "UTF8" as const } : {}),
      })),
    ],
    rowGroupSize,
  });
  return new Uint8Array(buffer);
}

/** A Parquet file with one column for each level. */
export function parquetLevels(rows: Rows, beside: Beside, type: "INT32" | "INT64"): Uint8Array {
  const cell = (row: readonly number[], level: number) => {
    const token = row[level];
    return token === undefined ? null : type === "INT64" ? BigInt(token) : token;
  };
  const columnData = levels(rows).map((name, level) => ({
    name,
    data: rows.map((row) => cell(row, level)),
    type,
    nullable: true,
  }));
  const more = besideColumns(beside);
  return new Uint8Array(
    parquetWriteBuffer({ columnData: [...columnData, ...more], rowGroupSize: 5 }),
  );
}

/** A Parquet file of columns of strings, integers of 64 bits or booleans. */
export function parquetStrings(
  columns: Record<string, readonly (string | bigint | boolean | null)[]>,
): Uint8Array {
  const columnData = Object.entries(columns).map(([name, data]) => {
    const kind = typeof data.find((value) => value !== null);
    const type: "INT64" | "BOOLEAN" | "STRING" = kind === "bigint"
      ? "INT64"
      : kind === "boolean"
      ? "BOOLEAN"
      : "STRING";
    return { name, data: [...data], type, nullable: true };
  });
  return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 3 }));
}

/** Every form, by name. Those that cannot hold the rows give nothing. */
export const FORMS: Record<string, Maker> = {
  "npy |u1": npy("|u1"),
  "npy <u2": npy("<u2"),
  "npy >u2": npy(">u2"),
  "npy <i4": npy("<i4"),
  "npy <i8": npy("<i8"),
  "npy <u4, Fortran": npy("<u4", true),
  "npy >u8, Fortran": npy(">u8", true),
  "JSON arrays": (rows, { ids, flags }) =>
    ids || flags ? undefined : {
      name: "x.jsonl",
      content: lines(rows.map((row) => JSON.stringify(row))),
      flags: [],
    },
  "JSON objects with lists": (rows, beside) => ({
    name: "x.ndjson",
    content: lines(rows.map((row, i) => objectOf({ sid: row }, beside, i))),
    flags: ["--sequence", "sid"],
  }),
  "JSON objects with levels": (rows, beside) => {
    const names = levels(rows);
    const cells = (row: readonly number[]) => names.map((name, i) => [name, row[i] ?? null]);
    return {
      name: "x.jsonl",
      content: lines(rows.map((row, i) => objectOf(Object.fromEntries(cells(row)), beside, i))),
      flags: ["--columns", names.join(",")],
    };
  },
  "CSV with lists": (rows, beside) => ({
    name: "x.csv",
    content: delimited(rows, beside, ",", ["sid"], (row) => [quoted(JSON.stringify(row))]),
    flags: ["--sequence", "sid"],
  }),
  "CSV with levels": (rows, beside) => {
    const names = levels(rows);
    const cells = (row: readonly number[]) => names.map((_, i) => String(row[i] ?? ""));
    return {
      name: "x.csv",
      content: "\ufeff" +
        delimited(rows, beside, ",", ["c", ...names], (row) => ["c", ...cells(row)])
          .replaceAll("\n", "\r\n"),
      flags: ["--columns", "c?*"],
    };
  },
  "TSV with lists": (rows, beside) => ({
    name: "x.tsv",
    content: delimited(rows, beside, "\t", ["sid"], (row) => [JSON.stringify(row)]),
    flags: ["--sequence", "sid"],
  }),
  "Parquet with lists": (rows, beside) => ({
    name: "x.parquet",
    content: parquetLists(rows, beside),
    flags: ["--sequence", "sid"],
  }),
  "Parquet with lists of 64 bits": (rows, beside) => ({
    name: "x.parquet",
    content: parquetLists(rows, beside, 3, "INT64"),
    flags: ["--sequence", "sid"],
  }),
  "Parquet with levels": (rows, beside) => ({
    name: "x.parquet",
    content: parquetLevels(rows, beside, "INT32"),
    flags: ["--columns", "c*"],
  }),
  "Parquet with levels of 64 bits": (rows, beside) => ({
    name: "x.pq",
    content: parquetLevels(rows, beside, "INT64"),
    flags: ["--columns", levels(rows).join(",")],
  }),
};
