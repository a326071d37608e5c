/** `push`: puts an index where it is to be opened from, whole or not at all. */
import type { Command } from "./command.ts";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { StorageError } from "../../errors.ts";
import { ConstraintIndex } from "../../index/constraint_index.ts";
import { checkMetadata } from "../../index/format/header.ts";
import { loadHeader } from "../../storage/load/load.ts";
import { indexSource } from "../args/index_source.ts";
import { isAddress, isS3 } from "../io/addresses.ts";
import { COMMON_OPTIONS, parseFlags } from "../args/flags.ts";
import { aboutFile, UsageError } from "../errors.ts";
import type { Io } from "../io/terminal.ts";
import { counted, facts, grouped } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import { checkOutputs } from "../io/outputs.ts";
import { WholeFile } from "../io/whole_file.ts";
import {
  checkS3Flags,
  S3_CREDENTIALS_HELP,
  S3_HELP,
  S3_OPTIONS,
  type S3Flags,
  s3Location,
  s3Object,
} from "../args/s3_flags.ts";

/** What `cli push --help` prints. */
export const PUSH_HELP =
  `Puts an index where it is to be opened from: S3, what speaks like it, or a folder

Usage: deno task cli push FILE DESTINATION [options]

DESTINATION is one of
  s3://bucket/key      an object in S3, R2, MinIO, Ceph, Swift, …
  s3://bucket/folder/  the same, with the file's name at the end
  folder/ or file      what a web server gives out, say; the folder must exist. A link is followed and stays, as
                       do the permissions of a file that is replaced

The index is read and verified first; those bytes are sent, whatever happens to the file meanwhile. Readers see what
was there before until all of it is there, and keep seeing it if anything fails. From S3 the header is read back and
compared: the digests in it vouch for the rest whenever the index is opened. Memory: the index and 32 MiB.

Examples
  deno task cli push catalogue.safetensors s3://indexes/catalogue.safetensors --region eu-central-1
  deno task cli push catalogue.safetensors s3://indexes/ --endpoint https://ID.r2.cloudflarestorage.com --region auto
  deno task cli push catalogue.safetensors /srv/www/indexes/

${S3_CREDENTIALS_HELP}

Options
${S3_HELP}
  --cache-control VALUE
                  what caches on the way may do, for s3://. Default no-cache: keep copies, but ask each time whether
                  they are current. A name that is never used again can have "public, max-age=31536000, immutable"
  --request-timeout SECONDS
                  longest time for one request to s3://. Default 60, and one second more for every 50 kB of it
  --json          one JSON object instead of text
  -h, --help      this text

Exit codes: 0 pushed, 1 not an index, or not written, 2 wrong usage, 130 interrupted
`;

/** Where the index came to be. */
interface Place {
  destination: string;
  /** Without secrets. */
  url: string;
  cacheControl?: string;
  /** Code that opens it. */
  open: string;
}

/** The command `push`. */
export const push: Command<Options> = { help: PUSH_HELP, parse, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} if the file is no sound index, or cannot be written.
 * @throws the reason of `io.signal`, once it is aborted; unless all was written by then, what was at the destination stays.
 */
async function run(options: Options, io: Io): Promise<number> {
  const { file, destination, isJson } = options;
  const began = performance.now();
  // What is wrong with the destination's name is to be known before a large file is read.
  const write = isS3(destination) ? await objectWriter(options) : await fileWriter(options);
  using progress = new ProgressLine(io);
  using index = await indexSource(file).then((source) =>
    ConstraintIndex.open(source, {
      verify: true,
      signal: io.signal,
      onProgress: (bytes, total) => progress.show("verifying", bytes, total),
    })
  ).catch((error) => {
    throw aboutFile(error, file);
  });
  const place = await write(
    index,
    io.signal,
    (bytes) => progress.show("pushing", bytes, index.byteLength),
  );
  progress[Symbol.dispose]();
  const { digest, size: sequences, byteLength } = index;
  const { open, ...where } = place;
  const milliseconds = Math.round(performance.now() - began);
  if (isJson) {
    const result = { file, ...where, digest, sequences, byteLength, milliseconds };
    io.out(`${JSON.stringify(result)}\n`);
    return 0;
  }
  io.out(`Pushed ${file}\n`);
  io.out(facts([
    ["to", where.destination],
    ["url", where.url],
    ["digest", digest],
    ["sequences", grouped(sequences)],
    ["bytes", grouped(byteLength)],
    ["time", `${(milliseconds / 1000).toFixed(2)} s`],
    ["open it", open],
  ]));
  return 0;
}

type Write = (
  index: ConstraintIndex,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
) => Promise<Place>;

/** Sends an index to S3, and looks whether it has arrived. */
async function objectWriter(
  { file, destination, s3, cacheControl, requestTimeoutMs }: Options,
): Promise<Write> {
  const name = destination.endsWith("/") ? destination + basename(file) : destination;
  const location = s3Location(name, s3);
  const { url, source, upload } = await s3Object(location);
  return async (index, signal, onProgress) => {
    await upload(index.toStream(), { cacheControl, requestTimeoutMs, signal, onProgress });
    const { header, total = index.byteLength } = await loadHeader(source, { checkMetadata, signal })
      .catch((cause) => {
        signal.throwIfAborted();
        throw new StorageError(
          "not-read-back",
          `Wrote ${url}, but cannot read it back: ${cause.message}`,
          { url, actual: cause.actual },
          { cause },
        );
      });
    if (header.digest !== index.digest || total !== index.byteLength) {
      throw new StorageError(
        "not-what-was-written",
        `Wrote ${url}, but found another object there: does somebody else write it, or a cache answer? Push again`,
        { url, expected: index.digest, actual: header.digest, byteLength: total },
      );
    }
    const call = Object.entries({ ...location, env: undefined })
      .filter(([, value]) => value !== undefined)
      .map(([field, value]) => `${field}: ${JSON.stringify(value)}`);
    const open = `ConstraintIndex.open(s3Source({ ${call.join(", ")} }))`;
    return { destination: name, url, cacheControl, open };
  };
}

/** Writes an index to a file system. */
async function fileWriter({ file, destination }: Options): Promise<Write> {
  const stat = await Deno.stat(destination).catch(() => undefined);
  const isFolder = stat?.isDirectory || /[/\\]$/.test(destination);
  const path = isFolder ? join(destination, basename(file)) : destination;
  await checkOutputs([{ flag: "DESTINATION", path }], [{ flag: "FILE", path: file }]);
  return async (index, signal, onProgress) => {
    await using out = await WholeFile.create(path);
    let written = 0;
    for await (const chunk of index.toStream()) {
      signal.throwIfAborted();
      await out.write(chunk);
      onProgress(written += chunk.length);
    }
    await out.seal();
    signal.throwIfAborted();
    await out.publish();
    const url = pathToFileURL(path).href;
    return { destination: path, url, open: `ConstraintIndex.open("${url}")` };
  };
}

interface Options {
  readonly file: string;
  readonly destination: string;
  readonly s3: S3Flags;
  readonly cacheControl: string;
  readonly requestTimeoutMs?: number;
  readonly isJson: boolean;
}

function parse(args: string[]): Options | undefined {
  const { values, positionals } = parseFlags(args, {
    ...S3_OPTIONS,
    "cache-control": { type: "string" },
    "request-timeout": { type: "string" },
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  const [file, destination] = positionals;
  if (positionals.length !== 2) {
    throw new UsageError(
      `Expected FILE and DESTINATION, found ${counted(positionals.length, "argument")}`,
    );
  }
  if (isAddress(file)) throw new UsageError("Expected a file to push, found an address");
  if (isAddress(destination) && !isS3(destination)) {
    throw new UsageError("Expected DESTINATION s3://bucket/key, a folder or a file, found a URL");
  }
  checkS3Flags(destination, values);
  for (const name of ["cache-control", "request-timeout"] as const) {
    if (values[name] === undefined || isS3(destination)) continue;
    throw new UsageError(`Expected s3://bucket/key with --${name}`);
  }
  const cacheControl = values["cache-control"] ?? "no-cache";
  if (!/^[\x20-\x7e]+$/.test(cacheControl)) {
    throw new UsageError("Expected --cache-control in plain ASCII, found something else");
  }
  const seconds = values["request-timeout"];
  if (seconds !== undefined && !/^[1-9]\d{0,5}$/.test(seconds)) {
    throw new UsageError("Expected --request-timeout in whole seconds, 1 to 999999");
  }
  const requestTimeoutMs = seconds === undefined ? undefined : 1000 * Number(seconds);
  return { file, destination, s3: values, cacheControl, requestTimeoutMs, isJson: values.json };
}
