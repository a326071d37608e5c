/** Stands in for a worker of `serve`: says which it is, and does what the path of a request asks for. */
import type {
  FromWorker,
  ResponseParts,
  ToWorker,
} from "../../../src/cli/serving/worker_messages.ts";

const worker = globalThis as unknown as {
  name: string;
  onmessage: (event: MessageEvent<ToWorker>) => void;
  postMessage(message: FromWorker): void;
};

const index = { digest: "d", size: 1, vocabSize: 2, byteLength: 3 };
/** Requests of /wait, which are answered when their client has gone. */
const waiting = new Set<number>();

/** Ends this worker: nobody catches it. */
function die(): void {
  setTimeout(() => {
    throw new Error("asked to die");
  });
}

function respond(id: number, text: string, status = 200): void {
  const body = new TextEncoder().encode(text).buffer;
  const headers: ResponseParts["headers"] = [["content-type", "text/plain"]];
  worker.postMessage({ type: "response", id, response: { status, headers, body } });
}

worker.onmessage = async ({ data }) => {
  if (data.type === "open") {
    const { argument } = data.options;
    const isLast = worker.name === "serve 2";
    if (argument === "dies at start" && isLast) die();
    else worker.postMessage({ type: "ready", index, place: undefined });
  } else if (data.type === "request") {
    const { url, body } = data.request;
    const { pathname } = new URL(url);
    if (pathname === "/die") die();
    else if (pathname === "/wait") waiting.add(data.id);
    else respond(data.id, body ? await new Response(body).text() : worker.name);
  } else if (data.type === "abort") {
    if (waiting.delete(data.id)) respond(data.id, "gone", 499);
  } else worker.postMessage({ type: "closed" });
};
