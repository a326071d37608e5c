/** From the FILE or URL of a subcommand to something that an index is opened from. */
import { IndexFormatError } from "../../errors.ts";
import type { IndexSource } from "../../storage/source.ts";
import { lookAt, openFile } from "../io/files.ts";
import { isAddress, isS3, shownName } from "../io/addresses.ts";
import { COMMON_OPTIONS, onlyArgument, parseFlags } from "./flags.ts";
import { UsageError } from "../errors.ts";
import type { Io } from "../io/terminal.ts";
import { checkS3Flags, S3_OPTIONS, type S3Flags, s3Location, s3Object } from "./s3_flags.ts";

/** What a command on one index takes: where it is, its name for messages, whether to answer in JSON. */
export interface IndexFlags {
  /** File or URL. */
  argument: string;
  /** The argument without secrets. */
  name: string;
  /** Where the store of an `s3:` URL is. */
  s3: S3Flags;
  isJson: boolean;
}

/**
 * Reads the arguments of a command on one index; undefined if help was asked for.
 *
 * @throws {UsageError} for anything else.
 */
export function parseIndexFlags(args: string[]): IndexFlags | undefined {
  const { values, positionals } = parseFlags(args, {
    ...S3_OPTIONS,
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  const argument = onlyArgument(positionals, "FILE or URL");
  checkS3Flags(argument, values);
  return { argument, name: shownName(argument), s3: values, isJson: values.json };
}

/**
 * The address that an argument is.
 *
 * @throws {UsageError} if it is none, or one that nothing is read from.
 */
export function parseAddress(argument: string): URL {
  const url = URL.parse(argument);
  if (url && /^(?:https?|file):$/.test(url.protocol)) return url;
  const wanted = "a URL, http:// or https:// or s3://";
  throw new UsageError(`Expected ${wanted}, found "${shownName(argument)}"`);
}

/**
 * An index that is about to be read.
 *
 * @param stdin for the argument "-".
 * @throws {IndexFormatError} if a file is of a well-known other kind.
 * @throws {StorageError} if a file cannot be read.
 * @throws {UsageError} if an address is none, or one in S3 lacks its credentials.
 */
export async function indexSource(
  argument: string,
  s3: S3Flags = {},
  stdin?: Io["stdin"],
): Promise<IndexSource> {
  if (argument === "-" && stdin) return stdin();
  if (isS3(argument)) return (await s3Object(s3Location(argument, s3))).source;
  if (isAddress(argument)) return parseAddress(argument);
  const { kind, byteLength } = await lookAt(argument);
  if (kind !== undefined && kind !== "a safetensors file") {
    throw new IndexFormatError(
      "wrong-file-type",
      `${argument}: expected an index file, found ${kind}; ${wayOut(kind)}`,
      { file: argument, expected: "safetensors", actual: kind, offset: 0 },
    );
  }
  // A pipe can be read once only.
  if (byteLength === undefined) return await openFile(argument);
  return {
    byteLength,
    async read({ start } = { start: 0 }) {
      const file = await openFile(argument);
      await file.seek(start, Deno.SeekMode.Start);
      return file.readable;
    },
  };
}

function wayOut(kind: string): string {
  if (kind.startsWith("a gzip") || kind.startsWith("a Zstandard")) return "unpack it first";
  if (kind.includes("NumPy") || kind === "JSON") {
    return 'make an index of it with "deno task cli build"';
  }
  return 'an index is made with "deno task cli build"';
}
