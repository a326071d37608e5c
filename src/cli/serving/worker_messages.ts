/** What `serve` and its workers say to each other. */
import type { IndexChange, LogEntry } from "../../edge/mod.ts";
import { EspalierError } from "../../errors.ts";
import { UsageError } from "../errors.ts";
import { fieldsOf } from "../io/json.ts";
import type { ServiceOptions } from "./service.ts";

/** To a worker. */
export type ToWorker =
  /** The first message: opens the service. */
  | { readonly type: "open"; readonly options: ServiceOptions; readonly isLogged: boolean }
  | { readonly type: "request"; readonly id: number; readonly request: RequestParts }
  /** The client of a request has gone. */
  | { readonly type: "abort"; readonly id: number }
  /** Ends the service. */
  | { readonly type: "close" };

/** From a worker. */
export type FromWorker =
  | { readonly type: "ready"; readonly index: IndexChange; readonly place: string | undefined }
  /** It cannot begin. */
  | { readonly type: "failed"; readonly error: ErrorParts }
  | { readonly type: "response"; readonly id: number; readonly response: ResponseParts }
  | { readonly type: "error"; readonly error: ErrorParts; readonly during: string }
  | { readonly type: "index"; readonly change: IndexChange }
  | { readonly type: "log"; readonly entry: LogEntry }
  | { readonly type: "closed" };

/** A request; its body is handed over. */
export interface RequestParts {
  readonly url: string;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: ReadableStream<Uint8Array> | null;
}

/** An answer, whole: those of the handler are. */
export interface ResponseParts {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: ArrayBuffer | null;
}

/** An error with its facts, which copies of errors do not have. */
export interface ErrorParts {
  readonly kind: "espalier" | "usage" | "other";
  readonly message: string;
  readonly code?: string;
  readonly facts?: Record<string, unknown>;
  readonly stack?: string;
}

/** Takes an error apart. */
export function errorParts(error: unknown): ErrorParts {
  if (error instanceof EspalierError) {
    const { name: _name, code: _code, ...facts } = fieldsOf(error);
    return { kind: "espalier", message: error.message, code: error.code, facts };
  }
  if (!(error instanceof Error)) return { kind: "other", message: String(error) };
  const kind = error instanceof UsageError ? "usage" : "other";
  return { kind, message: error.message, stack: error.stack };
}

/** Puts an error together again. */
export function errorOf({ kind, message, code, facts, stack }: ErrorParts): Error {
  if (kind === "espalier") return new EspalierError(code!, message, facts);
  if (kind === "usage") return new UsageError(message);
  return Object.assign(new Error(message), { stack });
}
