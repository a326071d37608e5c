/** Errors as answers: `application/problem+json`, RFC 9457. */
import { EspalierError, LimitError, StorageError } from "../errors.ts";

/** What a problem says beside its status and code. */
export interface ProblemFacts {
  /** JSON pointer to what is wrong in the body. */
  field?: string;
  expected?: unknown;
  actual?: unknown;
}

/** A request that is not answered, and why. */
export class Refusal extends EspalierError {
  readonly status: number;
  readonly field?: string;
  readonly headers: Record<string, string>;

  constructor(
    status: number,
    code: string,
    message: string,
    { field, ...facts }: ProblemFacts = {},
    headers: Record<string, string> = {},
  ) {
    super(code, message, facts);
    this.status = status;
    this.field = field;
    this.headers = headers;
  }
}

const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  412: "Precondition Failed",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  499: "Client Closed Request",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** Seconds after which a busy server should be asked again. */
const RETRY_SECONDS = "1";

/** For a server that cannot answer now. */
export function busy(code: string, message: string, facts?: ProblemFacts): Refusal {
  return new Refusal(503, code, message, facts, { "retry-after": RETRY_SECONDS });
}

/**
 * The refusal that an error amounts to. What is not ours keeps its message to itself: it may hold anything.
 */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof LimitError || error instanceof StorageError) {
    return busy(error.code, "The server cannot answer this now; try again later");
  }
  // An option of the request, within the range of its schema, that this index does not take.
  if (error instanceof RangeError && error.message.startsWith("Cannot search:")) {
    const { expected, actual } = error as ProblemFacts;
    return new Refusal(422, "wrong-option", error.message, { expected, actual });
  }
  const code = error instanceof EspalierError ? error.code : "internal";
  return new Refusal(500, code, "The server failed; its owner can see why");
}

/** The answer. */
export function problemResponse(
  { status, code, message, field, expected, actual, headers }: Refusal,
) {
  const body = {
    type: "about:blank",
    title: TITLES[status],
    status,
    detail: message,
    code,
    field,
    expected: shown(expected),
    actual: shown(actual),
  };
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      ...headers,
      "content-type": "application/problem+json",
      "cache-control": "no-store",
    },
  });
}

const LONGEST_TEXT = 200;
const LONGEST_LIST = 100;

/** What may be repeated to a client of a fact, which is a primitive or a list of some already. */
function shown(fact: unknown): unknown {
  if (Array.isArray(fact)) return fact.slice(0, LONGEST_LIST).map(shown);
  return typeof fact === "string" && fact.length > LONGEST_TEXT
    ? `${fact.slice(0, LONGEST_TEXT)}…`
    : fact;
}
