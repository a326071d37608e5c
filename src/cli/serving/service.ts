/** What `serve` answers requests with: a handler with its model, here or in each of several workers. */
import {
  createHandler,
  type Handler,
  type HandlerOptions,
  type IndexChange,
  type LogEntry,
} from "../../edge/mod.ts";
import { type ModelArguments, type ModelFiles, openModelFiles } from "../args/model_flags.ts";
import type { S3Flags } from "../args/s3_flags.ts";
import { indexSource } from "../args/index_source.ts";
import { aboutFile } from "../errors.ts";
import { shownName } from "../io/addresses.ts";

/** What is served. All of it can be sent to a worker. */
export interface ServiceOptions {
  /** File or URL of the index. */
  readonly argument: string;
  readonly s3: S3Flags;
  readonly model: ModelArguments | undefined;
  /** The files that `model` names, if it does. */
  readonly files: ModelFiles | undefined;
  /** What the handler is told of it. */
  readonly handler: Pick<
    HandlerOptions,
    "search" | "limits" | "cors" | "revalidateAfterMs" | "memoryBytes"
  >;
  readonly tokens: readonly string[] | undefined;
}

/** Who is told what. The worker is a number from 1, if there are several. */
export interface ServiceHooks {
  /** Ends the start. */
  readonly signal: AbortSignal;
  /** Told how far the start is. */
  onProgress(what: string, done: number, total?: number): void;
  /** Told what has failed after the start. */
  onError(error: unknown, during: string, worker?: number): void;
  /** Told of each index that takes the place of another. */
  onIndex(change: IndexChange, worker?: number): void;
  /** Told of each request after the start. */
  log?(entry: LogEntry, worker?: number): void;
}

/** A service that is ready. Disposing of it ends it when the requests that run have ended. */
export interface Service extends AsyncDisposable {
  /** Answers a request; never rejects. */
  answer(request: Request): Promise<Response>;
  /** The index that it began with. */
  readonly index: IndexChange;
  /** Where the model runs, if there is one. */
  readonly place: string | undefined;
}

/** What the handler is doing when it tells of an index that could not be loaded. */
const LOADING = "loading the index";

/**
 * Opens model and index in this thread.
 *
 * @throws {EspalierError} if one of them cannot be opened, naming the file. @throws the signal's reason.
 */
export async function openService(
  { argument, s3, model: modelArguments, files, handler: own, tokens }: ServiceOptions,
  hooks: ServiceHooks,
): Promise<Service> {
  await using opened = new AsyncDisposableStack();
  const name = shownName(argument);
  const model = modelArguments && await openModelFiles(files!, modelArguments, hooks.signal);
  if (model) opened.use(model);
  const failures: unknown[] = [];
  let index: IndexChange | undefined;
  let isReady = false;
  const handler = opened.use(createHandler(
    {
      ...own,
      // Asked again at each look: another file may have taken its name.
      index: () => indexSource(argument, s3),
      open: { onProgress: (bytes, total) => hooks.onProgress("reading", bytes, total) },
      search: { ...own.search, vocabSize: model?.onnx.vocabSize },
      model: model && ((prompts) => model.onnx.withPrompts(prompts)),
      decoder: model?.decoder,
      bearerTokens: tokens,
      onError(error, during) {
        const named = during === LOADING ? aboutFile(error, name) : error;
        failures.push(named);
        if (isReady) hooks.onError(named, during);
      },
      onIndex(change) {
        index = change;
        if (isReady) hooks.onIndex(change);
      },
      log: hooks.log && ((entry) => void (isReady && hooks.log!(entry))),
    } satisfies HandlerOptions,
  ));
  await load(handler, failures, hooks.signal);
  isReady = true;
  const resources = opened.move();
  return {
    answer: (request) => handler(request),
    index: index!,
    place: model?.place,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Has the index loaded, and waits for it. @throws what it fails with. */
async function load(
  handler: Handler,
  failures: readonly unknown[],
  signal: AbortSignal,
): Promise<void> {
  try {
    await handler.ready(signal);
  } catch (error) {
    signal.throwIfAborted();
    throw failures[0] ?? error;
  }
}
