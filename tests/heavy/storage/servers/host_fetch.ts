/** A `fetch` for names that no DNS knows. */
import { dial, type Head, type Wire } from "./wire.ts";

/** Sends a request to the server at `address`, whichever host its URL names. */
export async function hostFetch(address: string, request: Request): Promise<Response> {
  const { host, pathname, search } = new URL(request.url);
  const content = new Uint8Array(await request.arrayBuffer());
  request.signal.throwIfAborted();
  const wire = await dial(new URL(address));
  request.signal.addEventListener("abort", () => wire.reset());
  try {
    await wire.writeHead({
      start: `${request.method} ${pathname}${search} HTTP/1.1`,
      fields: [
        ["host", host],
        ...request.headers,
        ["content-length", `${content.length}`],
        ["connection", "close"],
      ],
    });
    await wire.write(content);
    const head = await wire.head();
    if (!head) throw new TypeError(`${address} has closed the connection`);
    return await response(wire, head, request.method);
  } catch (error) {
    await wire.reset();
    request.signal.throwIfAborted();
    throw error;
  }
}

async function response(wire: Wire, head: Head, method: string): Promise<Response> {
  const status = Number(head.start.split(" ")[1]);
  const init = { status, headers: head.fields };
  if (method === "HEAD" || status === 204 || status === 304) {
    await wire.close();
    return new Response(null, init);
  }
  const chunks = wire.body(head);
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await chunks.next();
      if (!done) return controller.enqueue(value);
      await wire.close();
      controller.close();
    },
    cancel: () => wire.reset(),
  });
  return new Response(body, init);
}
