/** A store that speaks as much S3 as an upload and a read need, and fails when it is told to. */
import { toHex } from "../../src/storage/safetensors.ts";

export interface StoredFile {
  bytes: Uint8Array<ArrayBuffer>;
  headers: Headers;
}

/** What a request is for. */
export type Call = "get" | "put" | "begin" | "part" | "complete" | "abandon";

/** Answers in place of the store; undefined to let it work. `count` is the number of such calls before. */
export type Interfere = (
  call: Call,
  count: number,
  request: Request,
) => Response | undefined | Promise<Response | undefined>;

export class FakeS3 implements AsyncDisposable {
  /** By path, with the bucket. */
  readonly objects = new Map<string, StoredFile>();
  /** Unfinished ones. */
  readonly uploads = new Map<string, { headers: Headers; parts: Map<number, Uint8Array> }>();
  readonly calls: Call[] = [];
  readonly ranges: (string | null)[] = [];
  interfere: Interfere = () => undefined;
  /** The only one that is let in. */
  accessKeyId = "AKIAEXAMPLEKEY";
  readonly #server = Deno.serve(
    {
      port: 0,
      hostname: "127.0.0.1",
      onListen() {},
      onError: () => new Response("", { status: 599 }),
    },
    (request) => this.#answer(request),
  );

  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  get endpoint(): string {
    return `http://${this.host}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const call = callOf(request.method, searchParams);
    const count = this.calls.filter((other) => other === call).length;
    this.calls.push(call);
    const interference = await this.interfere(call, count, request);
    if (interference) return interference;
    const authorization = request.headers.get("authorization") ?? "";
    if (!authorization.startsWith(`AWS4-HMAC-SHA256 Credential=${this.accessKeyId}/`)) {
      // As Amazon's: everything is in it.
      const detail = `${authorization} ${request.headers.get("x-amz-security-token")}`;
      return refusal(403, "InvalidAccessKeyId", `<StringToSign>${detail}</StringToSign>`);
    }
    if (call === "get") return this.#get(pathname, request.headers.get("range"));
    const bytes = await request.bytes();
    if (
      toHex(await crypto.subtle.digest("SHA-256", bytes)) !==
        request.headers.get("x-amz-content-sha256")
    ) {
      return refusal(400, "XAmzContentSHA256Mismatch");
    }
    if (call === "put") {
      this.objects.set(pathname, { bytes, headers: request.headers });
      return new Response(null, { headers: { etag: '"whole"' } });
    }
    if (call === "begin") {
      const id = `up&load ${this.uploads.size}`;
      this.uploads.set(id, { headers: request.headers, parts: new Map() });
      const shown = id.replace("&", "&amp;");
      return new Response(
        `<?xml version="1.0"?><InitiateMultipartUploadResult><UploadId>${shown}</UploadId></InitiateMultipartUploadResult>`,
      );
    }
    const id = searchParams.get("uploadId")!;
    const upload = this.uploads.get(id);
    if (!upload) return refusal(404, "NoSuchUpload");
    if (call === "part") {
      const number = Number(searchParams.get("partNumber"));
      upload.parts.set(number, bytes);
      return new Response(null, { headers: { etag: `"part ${number}"` } });
    }
    this.uploads.delete(id);
    if (call === "abandon") return new Response(null, { status: 204 });
    const listed = [
      ...new TextDecoder().decode(bytes).matchAll(
        /<Part><PartNumber>(\d+)<\/PartNumber><ETag>"part \1"<\/ETag><\/Part>/g,
      ),
    ].map(([, number]) => upload.parts.get(Number(number))!);
    const whole = await new Blob(listed as Uint8Array<ArrayBuffer>[]).bytes();
    this.objects.set(pathname, { bytes: whole, headers: upload.headers });
    return new Response("\n<CompleteMultipartUploadResult></CompleteMultipartUploadResult>");
  }

  #get(path: string, range: string | null): Response {
    this.ranges.push(range);
    const object = this.objects.get(path);
    if (!object) return refusal(404, "NoSuchKey");
    const { bytes } = object;
    const [, first, last] = range?.match(/^bytes=(\d+)-(\d*)$/) ?? [];
    if (first === undefined) return new Response(bytes);
    const start = Number(first),
      end = last ? Math.min(Number(last) + 1, bytes.length) : bytes.length;
    const headers = { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` };
    return new Response(bytes.subarray(start, end), { status: 206, headers });
  }
}

function callOf(method: string, query: URLSearchParams): Call {
  if (method === "GET") return "get";
  if (method === "DELETE") return "abandon";
  if (method === "PUT") return query.has("partNumber") ? "part" : "put";
  return query.has("uploads") ? "begin" : "complete";
}

/** An error as S3 tells it. */
export function refusal(status: number, code: string, detail = "", headers = {}): Response {
  const body = `<?xml version="1.0"?>\n<Error><Code>${code}</Code>${detail}</Error>`;
  return new Response(body, { status, headers });
}

/** An answer that breaks off. */
export function brokenOff(): Response {
  let isFirst = true;
  const body = new ReadableStream({
    pull(controller) {
      if (!isFirst) return controller.error(new Error("The connection drops"));
      isFirst = false;
      controller.enqueue(new TextEncoder().encode("<Comp"));
    },
  });
  return new Response(body, { headers: { etag: '"broken"' } });
}
