/** `serve`: answers HTTP requests from an index and a model. */
import type { Command } from "./command.ts";
import type { IndexChange, LogEntry } from "../../edge/mod.ts";
import { routeName } from "../../edge/route_names.ts";
import { EspalierError, printable } from "../../errors.ts";
import { listen, shownAddress } from "./listen.ts";
import { lookAt } from "../io/files.ts";
import { isAddress, shownName } from "../io/addresses.ts";
import { UsageError } from "../errors.ts";
import { MODEL_HELP, readModelFiles } from "../args/model_flags.ts";
import type { Io } from "../io/terminal.ts";
import { counted } from "../io/format.ts";
import { ProgressLine } from "../io/progress_line.ts";
import { environment, S3_CREDENTIALS_HELP, S3_HELP } from "../args/s3_flags.ts";
import { SEARCH_HELP } from "../args/search_flags.ts";
import { parseServe, type ServeArguments } from "./serve_arguments.ts";
import type { Service, ServiceHooks, ServiceOptions } from "../serving/service.ts";

/** What `cli serve --help` prints. */
export const SERVE_HELP = `Answers HTTP requests from an index and a model, until it is told to stop

Usage: deno task cli serve FILE|URL [--model MODEL.onnx] [options]

POST /v1/decode: prompts in, the best sequences of each out. POST /v1/mask: the tokens that may follow a prefix.
GET /healthz, /readyz, /metrics, /openapi.json, which describes them all. Without --model, /v1/decode answers 501.
It says where it listens when the first request can be answered. An index that changes where it is stored is taken when
it has been read and checked; until then requests are answered from the old one. SIGINT and SIGTERM let requests end.

Examples
  deno task cli serve catalogue.safetensors --model decoder.onnx
  deno task cli serve catalogue.safetensors --model t5.onnx --encoder encoder.onnx --start-token 0 --port 0 --json
  deno task cli serve s3://indexes/catalogue.safetensors --region eu-central-1 --port 8080 --revalidate 300 --log
  deno task cli serve catalogue.safetensors --model decoder.onnx --token-env ESPALIER_TOKEN --host 0.0.0.0 --queue 64

Options
  --port N        default 8000; 0: any that is free
  --host NAME     address to listen on; default 127.0.0.1, which only this machine reaches; 0.0.0.0: all
  --token-env NAME  requests need a bearer token: that, or those, with commas between, of this environment variable.
                  "deno task cli" lets it read ESPALIER_TOKEN; for others run Deno with --allow-env=NAME
  --cors ORIGIN   a site that may ask from a browser, such as https://shop.example; repeatable; * for all
  --concurrency N   requests that are worked on at a time; default 4
  --queue N       requests that wait for one of those; default 16; beyond, 503
  --deadline SECONDS  longest that a request may take; default 10
  --beams N       most that a request may ask for, up to 1024; default 128
  --body-bytes N  longest body of a request; default 1048576
  --prompt-vocab N  tokens of prompts are below it: the vocabulary of the encoder. Others are refused with 400, where
                  the model would fail with 500. A decoder's own vocabulary is known
  --workers N     threads that each have the index and the model, on the CPU; a request goes to the one with the
                  fewest. Default 1; where the model takes the time, as many as there are cores. --concurrency and
                  --queue are for each. A worker takes about 150 MB and its index. One that dies is reported, and
                  another takes its place. /metrics has each under the label worker
  --memory SIZE   memory for indexes, such as 96MB: where the old and the new one do not fit together, the new one is
                  verified first and takes the place of the old one while requests wait. Default: both are held. With
                  several workers it is for all of them, with the filters (32 MiB) and the model's files of each; what
                  does not fit is refused at start
  --revalidate SECONDS  age at which a request has the index looked at again; default 60
  --log           a line of JSON on standard error for each request, error and new index. Without it, errors and
                  new indexes have a line of text there
${MODEL_HELP}
${SEARCH_HELP}
                  The four above are for requests that do not say otherwise
${S3_HELP}
  --json          says where it listens, and errors at start, as one JSON object
  -h, --help      this text

JSON
  url, index (where it is), digest, size, vocabSize, model (where it runs), workers, curl (a command that asks)

Credentials
${S3_CREDENTIALS_HELP}

Exit codes: 0 told to stop, 1 no index or model, the port is in use, or the like, 2 wrong usage, 130 interrupted
while it started
`;

/** The command `serve`. */
export const serve: Command<ServeArguments> = { help: SERVE_HELP, parse: parseServe, run };

/**
 * Runs the command; returns its exit code.
 *
 * @throws {EspalierError} if index or model cannot be opened (naming the file), or it cannot listen.
 */
async function run(options: ServeArguments, io: Io): Promise<number> {
  const tokens = tokensOf(options.tokenVariable);
  const { argument, workers, isLogged } = options;
  if (!isAddress(argument)) await checkRepeatable(argument);
  using progress = new ProgressLine(io);
  const hooks: ServiceHooks = {
    signal: io.signal,
    onProgress: (what, done, total) => progress.show(what, done, total),
    onError: (error, during, worker) => report(io, error, during, isLogged, worker),
    onIndex: (change, worker) => reportIndex(io, change, isLogged, worker),
    log: isLogged ? (entry, worker) => logLine(io, { ...entry, worker }) : undefined,
  };
  await using service = await start(
    workers,
    await serviceOptions(options, tokens, io, progress),
    hooks,
  );
  progress[Symbol.dispose]();
  await using server = listen((request) => service.answer(request), {
    ...options,
    onRefused: (request, status) => {
      const { method, url } = request;
      // It is answered at once.
      if (isLogged) {
        logLine(io, { method, route: routeName(url), status, durationMs: 0 } satisfies LogEntry);
      }
    },
  });
  announce(io, server.address, options, tokens, service);
  await aborted(io.signal);
  io.err("stopping: requests that run may end\n");
  return 0;
}

/** Reads the model's files. */
async function serviceOptions(
  { argument, s3, model, handler }: ServeArguments,
  tokens: readonly string[] | undefined,
  io: Io,
  progress: ProgressLine,
): Promise<ServiceOptions> {
  const files = model && await readModelFiles(model, s3, io, progress);
  return { argument, s3, model, files, handler, tokens };
}

/** Starts the service in this thread, or in workers that share the memory. */
async function start(
  workers: number,
  options: ServiceOptions,
  hooks: ServiceHooks,
): Promise<Service> {
  if (workers === 1) {
    const { openService } = await import("../serving/service.ts");
    return await openService(options, hooks);
  }
  const { shareOfWorker } = await import("../serving/worker_memory.ts");
  const { startWorkers } = await import("../serving/worker_pool.ts");
  const memoryBytes = await shareOfWorker(workers, options, hooks.signal);
  const handler = { ...options.handler, memoryBytes };
  return await startWorkers(workers, { ...options, handler }, hooks);
}

/** @throws {UsageError} if a file can be read only once. */
async function checkRepeatable(file: string): Promise<void> {
  const isPipe = file === "-" || (await lookAt(file)).byteLength === undefined;
  if (!isPipe) return;
  throw new UsageError(`Expected a file that can be read again, found the pipe "${file}"`);
}

/** @throws {UsageError} if there are none in the variable. */
function tokensOf(variable: string | undefined): string[] | undefined {
  if (variable === undefined) return undefined;
  const tokens = (environment(variable) ?? "").split(/[\s,]+/).filter(Boolean);
  if (tokens.length > 0 && tokens.every((token) => /^[\x21-\x7e]+$/.test(token))) return tokens;
  const found = tokens.length > 0 ? "other characters than visible ASCII" : "none";
  throw new UsageError(
    `Expected bearer tokens in the environment variable ${variable}, found ${found}; set it, and see that Deno may read it: "deno task cli" allows ESPALIER_TOKEN, --allow-env=${variable} this one`,
  );
}

function announce(
  io: Io,
  { hostname, port }: { hostname: string; port: number },
  { isJson, model, tokenVariable, argument, workers }: ServeArguments,
  tokens: readonly string[] | undefined,
  { index, place }: Service,
): void {
  const url = `http://${shownAddress(hostname, port)}`;
  const [route, body] = model
    ? ["/v1/decode", '{"prompts":[[0]],"beams":3}']
    : ["/v1/mask", '{"prefixes":[[]]}'];
  // The shell takes the first where there are several.
  const variable = tokens && tokens.length > 1
    ? `\${${tokenVariable}%%[, ]*}`
    : `$${tokenVariable}`;
  const auth = tokens ? ` -H "authorization: Bearer ${variable}"` : "";
  const curl = `curl -s ${url}${route}${auth} -H "content-type: application/json" -d '${body}'`;
  if (isJson) {
    const { digest, size, vocabSize } = index;
    const ready = { url, index: shownName(argument), digest, size, vocabSize, model: place };
    io.out(`${JSON.stringify({ ...ready, workers, curl })}\n`);
    return;
  }
  const isOpen = !tokens && !/^(?:localhost|127\..*|::1)$/.test(hostname);
  const lines = [
    `Serving ${shownName(argument)} (${short(index.digest)}) at ${url}`,
    ...(place ? [`  model on ${place}`] : []),
    ...(workers > 1 ? [`  ${workers} workers`] : []),
    ...(isOpen ? ["  without --token-env: whoever reaches this port may ask"] : []),
    `  ${curl}`,
  ];
  // At once: whoever reads but the first line does not end the server.
  io.out(`${lines.join("\n")}\n`);
}

function report(
  io: Io,
  error: unknown,
  during: string,
  isLogged: boolean,
  worker: number | undefined,
): void {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof EspalierError ? error.code : "unexpected";
  if (isLogged) logLine(io, { error: { during, code, message }, worker });
  else {
    const text = `error: ${during}: ${message}\n  code ${code}${inWorker(worker)}\n`;
    io.err(printable(text, "\n"));
  }
}

/** Says that another index is served. */
function reportIndex(
  io: Io,
  { previous = "", digest, size }: IndexChange,
  isLogged: boolean,
  worker: number | undefined,
): void {
  const [from, to] = [short(previous), short(digest)];
  if (isLogged) logLine(io, { reload: { from, to, sequences: size }, worker });
  else io.err(`index ${from} → ${to}, ${counted(size, "sequence")}${inWorker(worker)}\n`);
}

const inWorker = (worker: number | undefined) => worker === undefined ? "" : `, worker ${worker}`;

/** The start of a digest. */
function short(digest: string): string {
  return `${digest.slice(0, 12)}…`;
}

function logLine(io: Io, entry: object): void {
  io.err(printable(`${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`, "\n"));
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
