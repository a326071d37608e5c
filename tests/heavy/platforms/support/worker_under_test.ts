/** A Worker on the bundle for Workers, with an index in R2, that says what it holds. */
import { writeBundles } from "../../../../tools/bundle/bundles.ts";
import { type R2, startR2 } from "../../storage/servers/r2.ts";
import { Folder } from "./folder.ts";
import { modulesIn } from "./modules.ts";

export const KEY = "catalogue.safetensors";

/** What a Worker says of itself. */
export interface State {
  /** How often the index has been looked at. */
  reads: number;
  /** What the handler told of. */
  errors: string[];
  /** Bytes of the WASM memories that have not been collected. */
  wasmBytes: number;
}

/** A Worker that runs. */
export interface Worker extends AsyncDisposable {
  readonly r2: R2;
  /** How long it took to start, milliseconds. */
  readonly startMs: number;
  /** @param leaveAfterMs when the client leaves: local workerd notices none of its own. */
  post(path: string, body: unknown, leaveAfterMs?: number): Promise<Response>;
  state(): Promise<State>;
  /** Bytes of the isolate's JavaScript heap, and of array buffers. */
  heapBytes(): Promise<number>;
}

/** A model whose logits depend on the prompt, as source text: the same in Deno and in the Worker. */
export const MODEL = `(prompts) => ({ out }) => {
  for (let i = 0; i < out.length; i++) out[i] = Math.sin(i + prompts[0][0]);
  return out;
}`;

/** @param options of the handler beside index and model, and `source`, as source text. */
export async function startWorker(
  { options = "", source = "stored", context = "env, context" } = {},
): Promise<Worker> {
  await using folder = await Folder.make();
  await writeBundles(folder.url);
  await folder.write(
    "workers/worker.js",
    `
import { env } from "cloudflare:workers";
import { createHandler, r2Source } from "./espalier.js";

const memories = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor) {
    super(descriptor);
    memories.push(new WeakRef(this));
  }
};
const errors = [];
let reads = 0;
const stored = r2Source(env.INDEXES, "${KEY}");
const handler = createHandler({
  index: () => {
    reads++;
    return (${source});
  },
  model: ${MODEL},
  onError: (error, during) => errors.push(during + ": " + error),
  ${options}
});
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export default {
  async fetch(request, env, context) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/state") {
      const client = new AbortController();
      const leaveAfter = Number(request.headers.get("leave-after"));
      if (leaveAfter > 0) setTimeout(() => client.abort(), leaveAfter);
      return handler(new Request(request, { signal: client.signal }), ${context});
    }
    const live = memories.map((memory) => memory.deref()).filter((memory) => memory);
    const wasmBytes = live.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
    return Response.json({ reads, errors, wasmBytes });
  },
};
`,
  );
  const modules = await modulesIn(`${folder.path}/workers`);
  const start = performance.now();
  const r2 = await startR2(modules, { inspectorPort: 0 });
  const startMs = performance.now() - start;
  return {
    r2,
    startMs,
    post: (path, body, leaveAfterMs) =>
      fetch(new URL(path, r2.url), {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...leaveAfterMs && { "leave-after": String(leaveAfterMs) },
        },
        body: JSON.stringify(body),
      }),
    state: async () => await (await fetch(new URL("/state", r2.url))).json(),
    heapBytes: async () => await heapUsage(await r2.inspector()),
    [Symbol.asyncDispose]: () => r2[Symbol.asyncDispose](),
  };
}

/** Asks V8's inspector. */
async function heapUsage(inspector: URL): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<Record<string, number>>();
  const socket = new WebSocket(new URL("/core:user:", inspector));
  socket.onopen = () => socket.send('{ "id": 1, "method": "Runtime.getHeapUsage" }');
  socket.onerror = () => reject(new Error("The inspector does not answer"));
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(data);
    if (id === 1) resolve(result);
  };
  try {
    const { usedSize, embedderHeapUsedSize, backingStorageSize } = await promise;
    return usedSize + embedderHeapUsedSize + backingStorageSize;
  } finally {
    const closed = new Promise((resolve) => socket.onclose = resolve);
    socket.close();
    await closed;
  }
}
