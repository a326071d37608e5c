/** A Web Worker of `serve`: opens a service of its own, and answers the requests that it is sent. */
import { openService, type Service } from "./service.ts";
import {
  errorParts,
  type FromWorker,
  type RequestParts,
  type ResponseParts,
  type ToWorker,
} from "./worker_messages.ts";

/** The types of this project are those of the main thread. */
const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent<ToWorker>) => void;
  postMessage(message: FromWorker, transfer?: Transferable[]): void;
};

let service: Service | undefined;
/** Requests that run, to tell them that their client has gone. */
const running = new Map<number, AbortController>();

worker.onmessage = async ({ data }) => {
  if (data.type === "open") await open(data.options, data.isLogged);
  else if (data.type === "request") await answer(data.id, data.request);
  else if (data.type === "abort") running.get(data.id)?.abort();
  else {
    await service?.[Symbol.asyncDispose]();
    worker.postMessage({ type: "closed" });
  }
};

async function open(...[options, isLogged]: [Parameters<typeof openService>[0], boolean]) {
  try {
    service = await openService(options, {
      // A start that is given up ends with its worker.
      signal: new AbortController().signal,
      onProgress() {},
      onError: (error, during) =>
        worker.postMessage({ type: "error", error: errorParts(error), during }),
      onIndex: (change) => worker.postMessage({ type: "index", change }),
      log: isLogged ? (entry) => worker.postMessage({ type: "log", entry }) : undefined,
    });
    worker.postMessage({ type: "ready", index: service.index, place: service.place });
  } catch (error) {
    worker.postMessage({ type: "failed", error: errorParts(error) });
  }
}

async function answer(id: number, parts: RequestParts): Promise<void> {
  const end = new AbortController();
  running.set(id, end);
  try {
    const answered = await service!.answer(requestOf(parts, end.signal));
    const response = await partsOf(answered);
    worker.postMessage({ type: "response", id, response }, response.body ? [response.body] : []);
  } finally {
    running.delete(id);
  }
}

function requestOf({ url, method, headers, body }: RequestParts, signal: AbortSignal): Request {
  const isAddress = URL.canParse(url);
  const init = { method, headers: headers as [string, string][], body, signal };
  const request = new Request(isAddress ? url : "http://localhost/", init);
  // With a malformed Host header there is no address: the handler says so.
  return isAddress ? request : Object.defineProperty(request, "url", { value: url });
}

async function partsOf({ status, headers, body }: Response): Promise<ResponseParts> {
  const whole = body && await new Response(body).arrayBuffer();
  return { status, headers: [...headers], body: whole };
}
