/** `build --tokenizer`: strings as input of the builder. */
import { BuildInputError } from "../../errors.ts";
import type { FilterValues, ItemIds } from "../../build/mod.ts";
import { lookAt, openFile } from "../io/files.ts";
import { readLineBatches } from "../io/text_lines.ts";
import type { Io } from "../io/terminal.ts";
import { BatchWriter, type RowSource } from "./row_source.ts";

import {
  type Spelling,
  spellLines,
  type TextArguments,
  type TextFormat,
} from "./encode_strings.ts";
import { openTokenizer } from "../tokenizers/open.ts";
import { perSpelling, spellingCount } from "./variants.ts";

/** A tokenizer that makes sequences of strings. */
export interface StringInput {
  /**
   * How strings become rows. Its `items` are there where ids are to be kept: when asked for, with variants, and for
   * tokenizers that change what they are given. Tokens alone tell the rest.
   */
  readonly spelling: Spelling;
  /**
   * Opens a list of strings. Memory, as it is read: a chunk of the file, and the ids.
   *
   * @param input path, or `-` for standard input.
   * @throws {BuildInputError} if the file is of another kind.
   * @throws {StorageError} if it cannot be read.
   */
  openList(input: string, io: Pick<Io, "signal" | "stdin">): Promise<RowSource>;
  /** Ids and filters of strings, as those of rows. */
  perRow(
    items: ItemIds | undefined,
    filters: readonly (readonly [name: string, values: FilterValues])[],
  ): { items: ItemIds | undefined; filters: [name: string, values: FilterValues][] };
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
  const spelling = { tokenizer, variants, mustSpell: tokenizer.isExact && !keepIds, items };
  return {
    spelling,
    async openList(input, { signal, stdin }) {
      const byteLength = input === "-" ? undefined : await checkKind(input, format);
      const open = input === "-" ? stdin : async () => (await openFile(input)).readable;
      const found = formatOf(input, format);
      // A string has a character and an end of its line, a spelling hardly twice as many bytes as it, and as tokens.
      const most = byteLength === undefined ? undefined : {
        rows: spellingCount(variants) * Math.ceil(byteLength / 2),
        tokens: spellingCount(variants) * 2 * byteLength,
      };
      return {
        name: input,
        most,
        byteLength,
        async *read() {
          const writer = new BatchWriter();
          for await (const lines of readLineBatches(open, input, signal)) {
            yield spellLines(lines, input, found, spelling, writer);
          }
        },
      };
    },
    perRow: (items, filters) => ({
      items: items && perSpelling(items as ArrayLike<bigint>, variants),
      filters: filters.map(([name, values]) => [name, perSpelling(values, variants)]),
    }),
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
  const isTable = kind === "a Parquet file" || (ending !== undefined && isText);
  const wayOut = ending?.toLowerCase() === "json"
    ? `make lines of it: jq -c '.[]' "${file}" | deno task cli build - --format jsonl …`
    : isTable
    ? "name the column that holds them with --column, or give --format text if it is no table"
    : "convert it";
  const found = isText ? `a .${ending} file` : kind;
  throw new BuildInputError(
    "wrong-file-type",
    `${file}: expected strings, one per line, found ${found}; ${wayOut}`,
    { file, expected: "text, jsonl", actual: found },
  );
}
