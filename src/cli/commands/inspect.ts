/** `inspect`: what an index holds and what it costs, from its header alone. */
import type { Command } from "./command.ts";
import { checkMetadata, decodeShape } from "../../index/format/header.ts";
import { idBits } from "../../index/format/item_shape.ts";
import { filtersByItem } from "../../index/named_filters.ts";
import { levelInfos } from "../../index/level_info.ts";
import { loadHeader } from "../../storage/load/load.ts";
import type { Header } from "../../storage/safetensors.ts";
import { entropyBits } from "../../index/entropy.ts";
import { type IndexFlags, indexSource, parseIndexFlags } from "../args/index_source.ts";
import { aboutFile } from "../errors.ts";
import type { Io } from "../io/terminal.ts";
import { bytesPerItem, facts, grouped, table } from "../io/format.ts";
import { S3_HELP } from "../args/s3_flags.ts";
import { shown } from "../tokenizers/open.ts";

/** What `cli inspect --help` prints. */
export const INSPECT_HELP = `Shows what an index holds and what it costs

Usage: deno task cli inspect FILE|URL|- [options]        (- is standard input)

Reads and checks the header, some kB whatever the size of the index, and warns where the file is cut or too long.
(To check the rest: deno task cli verify.)

Examples
  deno task cli inspect catalogue.safetensors
  deno task cli inspect https://cdn.example.com/catalogue.safetensors
  deno task cli inspect s3://indexes/catalogue.safetensors --region eu-central-1
  deno task cli inspect catalogue.safetensors --json | jq .bytesPerItem

A level holds all allowed prefixes of one length. Its columns:
  edges     distinct prefixes of this length
  states    those, one token shorter, that go on; each has its row of next tokens
  ends      sequences that end here
  encoding  packed: each token in so many bits; bitmap: a bit for each token of the window
  starts    how rows are found: one (each has one token), list (of the exceptions), bits (one per edge)
  branch    most tokens that may follow one prefix
  tokens    smallest and largest token: the window
  bits      of a packed token, relative to the window
  alone     prefixes of this length with one sequence below them: at least so many percent. When all beams of a
            search stand on such, one call of the model scores the rest
  bytes     in the file

Named filters, where there are any: how many sequences each allows, what share of all that is, and whether a bit
for each sequence is stored, or a list of those that are allowed, or of those that are not. By item says whether the
filter knows the single items of a sequence. If it does not, it allows all items of its sequences: then build the
index again. Item ids: one or more for each sequence, integers of so many bits or strings.

The entropy is what a random set of this size and these lengths needs, if all such sets are equally likely: log2 C(U, n)
bits, where n is the number of sequences and U = V^L that of all sequences of L tokens out of V. With mixed lengths it
is the sum over the lengths l of log2 C(V^l, n_l). A set with regularities that the format uses can take less.

Options
${S3_HELP}
  --json          one JSON object instead of text; "complete" says whether there are as many bytes as there should
                  be, null where that cannot be seen
  -h, --help      this text

JSON
  file, formatVersion, digest, sequences, vocabSize, tokenizer (null where there is none), minLength, maxLength, levels
  (each with edges, states, ends, encoding, starts, maxBranch, tokenMin, tokenMax, tokenBits, aloneAtLeast (a share),
  byteLength), filters (each with name, allowed, encoding, byItem, byteLength), items (null, or type, count, min, max,
  bits, lookup (whether ids lead back), byteLength),
  headerByteLength, byteLength, bytesPerItem, entropyBytesPerItem, complete

Exit codes: 0 shown, 1 not an index, or it cannot be read, 2 wrong usage, 130 interrupted
`;

/** The command `inspect`. */
export const inspect: Command<IndexFlags> = { help: INSPECT_HELP, parse: parseIndexFlags, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} naming the file, if it is no index or cannot be read.
 */
async function run(flags: IndexFlags, io: Io): Promise<number> {
  const { argument, name, s3, isJson } = flags;
  try {
    const source = await indexSource(argument, s3, io.stdin);
    const { header, total } = await loadHeader(source, { checkMetadata, signal: io.signal });
    const summary = summarize(header);
    const complete = total === undefined ? null : total === summary.byteLength;
    io.out(
      isJson ? `${JSON.stringify({ file: name, ...summary, complete })}\n` : show(name, summary),
    );
    if (!isJson && complete === false) io.out(warning(total!, summary.byteLength));
  } catch (error) {
    throw aboutFile(error, name);
  }
  return 0;
}

function warning(found: number, promised: number): string {
  const [what, advice] = found < promised ? ["cut", "fetch or push it again"] : [
    "too long",
    "something was appended to it, or written over a longer one",
  ];
  return `  warning   the file has ${grouped(found)} bytes, its header promises ${
    grouped(promised)
  }: ` +
    `it is ${what}; ${advice}\n`;
}

type Summary = ReturnType<typeof summarize>;

function summarize(header: Header) {
  const indexShape = decodeShape(header);
  const { size, vocabSize, levels, filters = [], items, tokenizer } = indexShape;
  const byItem = filtersByItem(indexShape);
  const bytesOf = (part: string) =>
    header.tensors.filter(({ name }) => name.startsWith(`${part}.`))
      .reduce((sum, tensor) => sum + tensor.byteLength, 0);
  const ends = levels.map((level) => level.ends);
  const byteLength = header.bytes.length + header.dataByteLength;
  return {
    formatVersion: Number(header.metadata.version),
    digest: header.digest,
    sequences: size,
    vocabSize,
    tokenizer: tokenizer ?? null,
    minLength: ends.findIndex((count) => count > 0) + 1,
    maxLength: levels.length,
    levels: levelInfos(levels).map(({ tokenMin, tokenBits, byteLength, ...level }, d) => ({
      ...level,
      tokenMin,
      tokenMax: tokenMin + levels[d].tokenCount - 1,
      tokenBits,
      aloneAtLeast: aloneAtLeast(level.edges, ends.slice(d)),
      byteLength,
    })),
    filters: filters.map(({ name, ones, encoding, inverted }, i) => ({
      name,
      allowed: ones,
      encoding: encoding === "bits" ? "bits" : inverted ? "list of others" : "list",
      byItem: byItem.get(name)!,
      byteLength: bytesOf(`filter${i}`),
    })),
    items: items === undefined ? null : {
      type: items.type,
      count: items.count,
      ...(items.type === "integer" && { min: items.min, max: items.max, bits: idBits(items) }),
      lookup: items.lookup !== undefined,
      byteLength: bytesOf("items"),
    },
    headerByteLength: header.bytes.length,
    byteLength,
    bytesPerItem: byteLength / size,
    entropyBytesPerItem: entropyBits(vocabSize, ends) / 8 / size,
  };
}

/**
 * Least share of edges with one sequence at or below them: each of the others has two at least.
 *
 * @param ends sequences that end on the level and on those below.
 */
function aloneAtLeast(edges: number, ends: readonly number[]): number {
  const sequences = ends.reduce((a, b) => a + b, 0);
  return Math.max(0, 2 * edges - sequences) / edges;
}

function show(name: string, summary: Summary): string {
  const { sequences, minLength, maxLength, byteLength, entropyBytesPerItem } = summary;
  const { filters, items } = summary;
  // Filters and items hold more than the set.
  const attached = filters.reduce((sum, filter) => sum + filter.byteLength, items?.byteLength ?? 0);
  const ratio = (byteLength - attached) / sequences / entropyBytesPerItem;
  const head = facts([
    ["format", `Espalier index, version ${summary.formatVersion}`],
    ["digest", summary.digest],
    ["sequences", grouped(sequences)],
    ["vocabulary", grouped(summary.vocabSize)],
    ...(summary.tokenizer ? [["tokenizer", shown(summary.tokenizer)] as const] : []),
    ["length", `${minLength === maxLength ? "" : `${minLength} to `}${maxLength} tokens`],
  ]);
  const columns = ["level", "edges", "states", "ends", "encoding", "starts", "branch", "tokens"];
  const levels = table(
    [...columns, "bits", "alone", "bytes"],
    summary.levels.map((level, d) => [
      String(d),
      grouped(level.edges),
      grouped(level.states),
      grouped(level.ends),
      level.encoding,
      level.starts,
      grouped(level.maxBranch),
      `${level.tokenMin}–${level.tokenMax}`,
      level.encoding === "packed" ? String(level.tokenBits) : "",
      `${(Math.floor(1000 * level.aloneAtLeast) / 10).toFixed(1)}`,
      grouped(level.byteLength),
    ]),
  );
  const total = facts([
    ["bytes", `${grouped(byteLength)}, header of ${grouped(summary.headerByteLength)} included`],
    ["per item", bytesPerItem(byteLength, sequences)],
    [
      "entropy",
      `${entropyBytesPerItem.toFixed(2)} bytes per item` +
      (Number.isFinite(ratio)
        ? `; ${attached > 0 ? "without filters and ids " : ""}the index takes ${
          ratio.toFixed(2)
        } × that`
        : ""),
    ],
  ]);
  const filterTable = filters.length === 0 ? "" : `\n${
    table(
      ["filter", "allowed", "percent", "encoding", "by item", "bytes"],
      filters.map(({ name, allowed, encoding, byItem, byteLength }) => [
        name,
        grouped(allowed),
        (100 * allowed / sequences).toFixed(1),
        encoding,
        byItem ? "yes" : "no",
        grouped(byteLength),
      ]),
    )
  }`;
  const itemFacts = items ? `\n${facts([["item ids", describeItems(items)]])}` : "";
  return `${name}\n${head}\n${levels}${filterTable}${itemFacts}\n${total}`;
}

function describeItems(items: NonNullable<Summary["items"]>): string {
  const { type, count, bits, lookup, byteLength } = items;
  const what = bits === undefined ? `${type}s` : `${type}s of ${bits} bits`;
  const way = lookup ? "can be looked up" : "cannot be looked up";
  return `${grouped(count)} ${what}, ${grouped(byteLength)} bytes; ${way}`;
}
