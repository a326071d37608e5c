/** A handler at an address. */
import { EspalierError } from "../../errors.ts";
import { unavailable } from "../serving/unavailable.ts";

/** Where to listen, and how long requests may take. */
export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly deadlineMs: number;
  /** Told about each request that is refused because the server stops; the handler never sees it. */
  readonly onRefused?: (request: Request, status: number) => void;
}

/**
 * A server that runs. Disposing of it refuses further requests and waits for those that run, up to their deadline; then
 * nobody listens any more.
 */
export interface Listener extends AsyncDisposable {
  /** Port 0 has become the one that was free. */
  readonly address: { readonly hostname: string; readonly port: number };
}

/** What requests may take beyond their deadline before they are cut off, milliseconds. */
const GRACE_MS = 2000;

/**
 * Answers requests with a handler.
 *
 * @throws {EspalierError} with code `"address-in-use"`, or `"cannot-listen"` where an address is none of this machine's,
 * or not for this process.
 */
export function listen(
  handler: (request: Request) => Promise<Response>,
  { host, port, deadlineMs, onRefused }: ListenOptions,
): Listener {
  const running = new Set<Promise<Response>>();
  let isStopping = false;
  const answer = (request: Request) => {
    if (isStopping) {
      const refusal = unavailable("closed", "The server is shutting down", { connection: "close" });
      onRefused?.(request, refusal.status);
      return refusal;
    }
    const response = handler(request);
    running.add(response);
    return response.finally(() => running.delete(response));
  };
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve({ hostname: host, port, onListen() {} }, answer);
  } catch (cause) {
    const isUsed = cause instanceof Deno.errors.AddrInUse;
    const why = isUsed
      ? "the port is in use; stop what uses it, or choose another with --port"
      : `${cause instanceof Error ? cause.message : cause}; choose another --host or --port`;
    throw new EspalierError(
      isUsed ? "address-in-use" : "cannot-listen",
      `Cannot listen on ${shownAddress(host, port)}: ${why}`,
      { expected: "an address to listen on", actual: `${host}:${port}` },
      { cause },
    );
  }
  return {
    address: server.addr,
    async [Symbol.asyncDispose]() {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise((resolve) => timer = setTimeout(resolve, deadlineMs + GRACE_MS));
      isStopping = true;
      // Not at once: shutting down breaks off the bodies of requests that are still coming.
      await Promise.race([Promise.allSettled(running), late]);
      await Promise.race([server.shutdown(), late]);
      clearTimeout(timer);
    },
  };
}

/** An address as URLs have it; where it stands for all, the one by which this machine reaches itself. */
export function shownAddress(host: string, port: number): string {
  if (host === "0.0.0.0" || host === "::") return `127.0.0.1:${port}`;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
