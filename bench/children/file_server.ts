/** A file server for machines without nginx: folder, port, bytes per second (0: no limit). */
import { join } from "node:path";

const [folder, port, rate] = Deno.args;
const bytesPerMs = Number(rate) / 1000;

Deno.serve({ hostname: "127.0.0.1", port: Number(port) }, async (request) => {
  const path = join(folder, new URL(request.url).pathname);
  const { isFile, size } = await Deno.stat(path);
  if (!isFile) return new Response(null, { status: 404 });
  const [, first, last] = request.headers.get("range")?.match(/^bytes=(\d+)-(\d*)$/) ?? [];
  const start = Number(first ?? 0);
  const end = last ? Math.min(size, Number(last) + 1) : size;
  const file = await Deno.open(path);
  await file.seek(start, Deno.SeekMode.Start);
  const headers: Record<string, string> = { "content-length": String(end - start) };
  if (first !== undefined) headers["content-range"] = `bytes ${start}-${end - 1}/${size}`;
  const body = bytesPerMs > 0 || end < size ? limited(file, end - start) : file.readable;
  return new Response(body, { status: first === undefined ? 200 : 206, headers });
});

/** So many bytes, no faster than the limit. */
function limited(file: Deno.FsFile, length: number): ReadableStream<Uint8Array> {
  const begin = performance.now();
  let sent = 0;
  return new ReadableStream({
    async pull(controller) {
      if (sent === length) {
        file.close();
        return controller.close();
      }
      const buffer = new Uint8Array(Math.min(2 ** 14, length - sent));
      const count = await file.read(buffer) ?? 0;
      sent += count;
      const due = bytesPerMs > 0 ? begin + sent / bytesPerMs - performance.now() : 0;
      if (due > 1) await new Promise((resolve) => setTimeout(resolve, due));
      controller.enqueue(buffer.subarray(0, count));
    },
    cancel: () => file.close(),
  });
}
