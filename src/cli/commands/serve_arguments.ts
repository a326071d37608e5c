/** What `serve` is told. */
import { DEFAULT_LIMITS } from "../../edge/options.ts";
import { isS3 } from "../io/addresses.ts";
import type { ServiceOptions } from "../serving/service.ts";
import { COMMON_OPTIONS, onlyArgument, parseFlags, parseMemory } from "../args/flags.ts";
import { UsageError } from "../errors.ts";
import { MODEL_OPTIONS, type ModelArguments, parseModel } from "../args/model_flags.ts";
import { checkS3Flags, S3_OPTIONS, type S3Flags } from "../args/s3_flags.ts";
import { numberFlag, parseSearch, SEARCH_OPTIONS, wholeFlag } from "../args/search_flags.ts";

/** Arguments of the command. */
export interface ServeArguments {
  readonly argument: string;
  readonly s3: S3Flags;
  readonly model: ModelArguments | undefined;
  readonly host: string;
  readonly port: number;
  readonly tokenVariable: string | undefined;
  readonly deadlineMs: number;
  readonly workers: number;
  readonly handler: ServiceOptions["handler"];
  readonly isLogged: boolean;
  readonly isJson: boolean;
}

const DAY_SECONDS = 86_400;
const MOST_WORKERS = 256;

/**
 * Reads the arguments; undefined if help was asked for.
 *
 * @throws {UsageError} for anything else.
 */
export function parseServe(args: string[]): ServeArguments | undefined {
  const { values, positionals } = parseFlags(args, {
    ...S3_OPTIONS,
    ...MODEL_OPTIONS,
    ...SEARCH_OPTIONS,
    port: { type: "string", default: "8000" },
    host: { type: "string", default: "127.0.0.1" },
    "token-env": { type: "string" },
    cors: { type: "string", multiple: true },
    concurrency: { type: "string" },
    queue: { type: "string" },
    deadline: { type: "string" },
    beams: { type: "string" },
    "body-bytes": { type: "string" },
    "prompt-vocab": { type: "string" },
    workers: { type: "string", default: "1" },
    memory: { type: "string" },
    revalidate: { type: "string" },
    log: { type: "boolean", default: false },
    ...COMMON_OPTIONS,
  });
  if (values.help) return undefined;
  const argument = onlyArgument(positionals, "FILE or URL");
  const workers = wholeFlag("--workers", values.workers, 1, MOST_WORKERS);
  const model = modelOf(values, workers);
  checkS3Flags([argument, model?.model ?? ""].find(isS3) ?? argument, values);
  const tokenVariable = values["token-env"];
  if (tokenVariable !== undefined && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(tokenVariable)) {
    // It may be the token itself: it is not shown.
    throw new UsageError("Expected --token-env NAME, of an environment variable; found no name");
  }
  const deadline = numberFlag("--deadline", values.deadline, 0.001, DAY_SECONDS);
  const revalidate = numberFlag("--revalidate", values.revalidate, 0, 365 * DAY_SECONDS);
  const deadlineMs = deadline === undefined ? DEFAULT_LIMITS.deadlineMs : 1000 * deadline;
  return {
    argument,
    s3: values,
    model,
    host: values.host,
    port: wholeFlag("--port", values.port, 0, 65_535),
    tokenVariable,
    deadlineMs,
    workers,
    handler: {
      search: { ...parseSearch(values), padToken: model?.padToken },
      limits: {
        deadlineMs,
        concurrency: wholeFlag("--concurrency", values.concurrency, 1, 2 ** 16),
        queue: wholeFlag("--queue", values.queue, 0, 2 ** 20),
        beams: wholeFlag("--beams", values.beams, 1, 1024),
        promptVocabulary: wholeFlag("--prompt-vocab", values["prompt-vocab"], 1, 2 ** 31),
        bodyBytes: wholeFlag("--body-bytes", values["body-bytes"], 1, 2 ** 30),
      },
      cors: values.cors && { origins: originsOf(values.cors) },
      // Whoever starts a process gives it the memory that it needs: the old index stays until the new one is there.
      memoryBytes: values.memory === undefined ? Infinity : parseMemory(values.memory),
      revalidateAfterMs: revalidate === undefined ? undefined : 1000 * revalidate,
    },
    isLogged: values.log,
    isJson: values.json,
  };
}

/** Several workers have cores to share, and no GPU. @throws {UsageError} where one was asked for. */
function modelOf(values: Parameters<typeof parseModel>[0], workers: number) {
  const model = parseModel(values);
  if (!model || workers === 1) return model;
  if (model.backend !== "webgpu") return { ...model, backend: "wasm" as const };
  throw new UsageError("Expected --workers 1 with --backend webgpu: several workers use the CPU");
}

function originsOf(given: readonly string[]): readonly string[] | "*" {
  if (given.includes("*")) return "*";
  for (const origin of given) {
    if (URL.canParse(origin) && new URL(origin).origin === origin) continue;
    throw new UsageError(`Expected --cors as https://shop.example, or *, found "${origin}"`);
  }
  return given;
}
