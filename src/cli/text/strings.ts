/** `build --tokenizer`: lists of strings as input of the builder. */
import { BuildInputError } from "../../errors.ts";
import type { FilterValues, ItemIds } from "../../index/build.ts";
import { aboutFile, lookAt, openFile } from "../input.ts";
import type { OpenStream } from "../lines.ts";
import type { Io, ProgressLine } from "../output.ts";
import type { TextArguments, TextFormat } from "./arguments.ts";
import { readLineBatches } from "./lines.ts";
import { spell, type Spelling, type StringBatch } from "./spell.ts";
import { openTokenizer, type Tokenizer } from "./tokenizer.ts";
import { perSpelling } from "./variants.ts";

/** Lists of strings, and the tokenizer that makes sequences of them. */
export interface StringInput {
  readonly tokenizer: Tokenizer;
  /**
   * The string of each row that has been read, where ids are to be kept: when asked for, with variants, and for
   * tokenizers that change what they are given. Tokens alone tell the rest.
   */
  readonly items: string[] | undefined;
  /**
   * Opens lists, one behind the other. Their rows are read when the builder asks for them, and not held: the builder
   * sorts them as keys, which take less than tokens. Memory: a chunk of a file, and the ids.
   *
   * @param inputs paths, or `-` for standard input.
   * @param isSorted whether tokens are in ascending order, as those of `bytes` are if the strings are in that of their
   * bytes.
   * @throws {BuildInputError} if a file is of another kind.
   * @throws {StorageError} if it cannot be read.
   */
  gather(
    inputs: readonly string[],
    isSorted: boolean,
    io: Pick<Io, "signal" | "stdin">,
    progress: ProgressLine,
  ): Promise<StringRows>;
  /** Ids and filters of strings, as those of rows. */
  perRow(
    items: ItemIds | undefined,
    filters: readonly (readonly [name: string, values: FilterValues])[],
  ): { items: ItemIds | undefined; filters: [name: string, values: FilterValues][] };
}

/** Rows, and what is known of them. */
export interface StringRows extends AsyncDisposable {
  readonly rows: AsyncIterable<StringBatch>;
  readonly vocabSize: number;
  readonly isSorted: boolean;
  /** Rows so far: one for each spelling of each string. */
  count(): number;
  /** An error of the builder, naming the file, and its line, that it is about. */
  about(error: unknown): unknown;
  /** None: strings are sorted in memory. */
  temporaryBytes(): undefined;
}

/**
 * Gets ready to read strings.
 *
 * @param hasItems whether the rows have ids of other kinds.
 * @throws {UsageError} if there is no such tokenizer.
 * @throws {EspalierError} if the file of the tokenizer cannot be read, or is none.
 */
export async function openText(
  { tokenizer: name, variants, keepIds, format }: TextArguments,
  hasItems: boolean,
): Promise<StringInput> {
  const tokenizer = await openTokenizer(name);
  const isTold = tokenizer.isExact && variants.length === 0;
  const items: string[] | undefined = hasItems || (isTold && !keepIds) ? undefined : [];
  const mustSpell = tokenizer.isExact && !keepIds;
  return {
    tokenizer,
    items,
    async gather(inputs, isSorted, { signal, stdin }, progress) {
      const lists: List[] = [];
      for (const file of inputs) {
        const byteLength = file === "-" ? undefined : await checkKind(file, format);
        const open = file === "-" ? stdin : async () => (await openFile(file)).readable;
        const found = formatOf(file, format);
        lists.push({
          byteLength,
          open,
          file,
          format: found,
          tokenizer,
          variants,
          mustSpell,
          items,
        });
      }
      return rowsOf(lists, isSorted, signal, progress);
    },
    perRow: (items, filters) => ({
      items: items && perSpelling(items as ArrayLike<bigint>, variants),
      filters: filters.map(([name, values]) => [name, perSpelling(values, variants)]),
    }),
  };
}

interface List extends Spelling {
  /** Undefined for what can be read once only. */
  readonly byteLength: number | undefined;
  readonly open: OpenStream;
}

function rowsOf(
  lists: readonly List[],
  isSorted: boolean,
  signal: AbortSignal,
  progress: ProgressLine,
): StringRows {
  let count = 0;
  /** What the builder reads at present. */
  let present: { file: string; batch: StringBatch; first: number } | undefined;
  async function* rows(): AsyncGenerator<StringBatch, void, void> {
    for (const list of lists) {
      const { file, byteLength } = list;
      for await (const lines of readLineBatches(list.open, file, signal)) {
        const batch = spell(lines, list);
        present = { file, batch, first: count };
        count += batch.ends.length;
        if (byteLength === undefined) progress.show("reading row", count);
        else progress.show("reading", batch.bytes, byteLength);
        yield batch;
      }
    }
  }
  return {
    rows: rows(),
    vocabSize: lists[0].tokenizer.vocabSize,
    isSorted,
    count: () => count,
    about(error) {
      const row = error instanceof BuildInputError ? error.row : undefined;
      const line = row === undefined ? undefined : present?.batch.lines[row - present.first];
      return aboutFile(error, present?.file ?? lists[0].file, line);
    },
    temporaryBytes: () => undefined,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function formatOf(file: string, format: TextFormat | undefined): TextFormat {
  return format ?? (/\.(jsonl|ndjson)$/i.test(file) ? "jsonl" : "text");
}

/** Size of a file, unless it holds something else than lines of text, or in another way. */
async function checkKind(
  file: string,
  format: TextFormat | undefined,
): Promise<number | undefined> {
  const { kind, byteLength } = await lookAt(file);
  const [, ending] = /\.(json|csv|tsv)$/i.exec(file) ?? [];
  // What starts like JSON or HTML may be a string.
  const isText = kind === undefined || kind === "JSON" || kind.startsWith("an HTML");
  if (isText && (ending === undefined || format !== undefined)) return byteLength;
  const wayOut = ending?.toLowerCase() === "json"
    ? `make lines of it: jq -c '.[]' "${file}" | cli build - --format jsonl …`
    : ending === undefined
    ? "convert it"
    : "write the column of strings to a file of its own, or give --format text";
  const found = isText ? `a .${ending} file` : kind;
  throw new BuildInputError(
    "wrong-file-type",
    `${file}: expected strings, one per line, found ${found}; ${wayOut}`,
    { file, expected: "text, jsonl", actual: found },
  );
}
