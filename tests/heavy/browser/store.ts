/** A store at another origin than the page: browsers hide most headers of its answers. */
import { gzipSync } from "node:zlib";

/** A running store. Below `/exposed/` it shows its headers; what is called `gzip` comes compressed, and `cut` in two. */
export interface Store extends AsyncDisposable {
  readonly url: string;
}

/** Starts a store that gives out one file under every name. */
export function startStore(file: Uint8Array<ArrayBuffer>): Store {
  const packed = gzipSync(file) as Uint8Array<ArrayBuffer>;
  const server = Deno.serve({
    port: 0,
    hostname: "127.0.0.1",
    onListen() {},
    onError: () => new Response(null, { status: 500 }),
  }, (request) => {
    const { pathname } = new URL(request.url);
    const headers = new Headers({
      "access-control-allow-origin": "*",
      "cache-control": "no-store",
      etag: '"1"',
    });
    if (pathname.startsWith("/exposed/")) {
      headers.set("access-control-expose-headers", "content-encoding, content-range, etag");
    }
    const [, start, last] = request.headers.get("range")?.match(/^bytes=(\d+)-(\d*)$/) ?? [];
    if (start !== undefined) {
      const end = last ? Math.min(Number(last) + 1, file.length) : file.length;
      headers.set("content-range", `bytes ${start}-${end - 1}/${file.length}`);
      return new Response(file.slice(Number(start), end), { status: 206, headers });
    }
    if (pathname.endsWith("/gzip")) {
      headers.set("content-encoding", "gzip");
      headers.set("content-length", `${packed.length}`);
      return new Response(packed, { headers });
    }
    return new Response(pathname.endsWith("/cut") ? cut(file) : file, { headers });
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** Half of it, and then the connection drops. */
function cut(file: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      // The browser is to see each piece before it sees the end.
      await new Promise((go) => setTimeout(go, 5));
      if (at > file.length / 2) return controller.error(new Error("cut"));
      controller.enqueue(file.slice(at, at += 2 ** 19));
    },
  });
}
