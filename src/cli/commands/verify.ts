/** `verify`: reads a whole index and checks all that can be checked. */
import type { Command } from "./command.ts";
import { loadedIndexOf } from "../../index/constraint_index.ts";
import { openIndex } from "../args/index_file.ts";
import { type IndexFlags, parseIndexFlags } from "../args/index_source.ts";
import type { Io } from "../io/terminal.ts";
import { counted, facts, grouped } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import { S3_HELP } from "../args/s3_flags.ts";

/** What `cli verify --help` prints. */
export const VERIFY_HELP = `Reads a whole index and checks all that can be checked

Usage: deno task cli verify FILE|URL|- [options]        (- is standard input)

Opening an index checks its header and digests: damage on the way is found. Verifying walks the levels, named
filters and item ids as well: it also finds what was written wrongly. Memory: the index.

Examples
  deno task cli verify catalogue.safetensors && deploy catalogue.safetensors
  deno task cli verify https://cdn.example.com/catalogue.safetensors --json
  deno task cli verify s3://indexes/catalogue.safetensors --region eu-central-1

Options
${S3_HELP}
  --json          one JSON object instead of text
  -h, --help      this text

JSON
  ok (true), file, digest, sequences, byteLength, checked (what was)

Exit codes: 0 sound, 1 damaged, not an index, or it cannot be read, 2 wrong usage, 130 interrupted
`;

/** The command `verify`. */
export const verify: Command<IndexFlags> = { help: VERIFY_HELP, parse: parseIndexFlags, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} naming the file and what is wrong with it.
 */
async function run(flags: IndexFlags, io: Io): Promise<number> {
  const { argument, name: file, s3, isJson } = flags;
  using progress = new ProgressLine(io);
  using index = await openIndex(argument, s3, io, progress, true);
  progress[Symbol.dispose]();
  const { digest, size, maxLength, byteLength, filterNames, items } = index;
  const { version } = loadedIndexOf(index).header.metadata;
  const checked = [
    `format version ${version}, and that counts, sizes and sections of the header agree`,
    "SHA-256 of the header and of every MiB of the data",
    `the structure of ${
      counted(maxLength, "level")
    }: row starts, counts, tokens in range and ascending`,
  ];
  if (filterNames.length > 0) {
    checked.push(`${counted(filterNames.length, "named filter")}: counts, ordinals`);
  }
  if (items) {
    checked.push(`${counted(items.count, "item id")}: where each stands, range or UTF-8, order`);
  }
  if (isJson) {
    const result = { ok: true, file, digest, sequences: size, byteLength, checked };
    io.out(`${JSON.stringify(result)}\n`);
    return 0;
  }
  io.out(`ok ${file}\n`);
  io.out(facts([
    ["digest", digest],
    ["sequences", grouped(size)],
    ["bytes", grouped(byteLength)],
    ...checked.map((what) => ["checked", what] as const),
  ]));
  return 0;
}
