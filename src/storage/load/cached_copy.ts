/** The copy of an object in a `Cache`. It is never trusted: the store says whether it is current, digests whether it is sound. */
import { typeError } from "../../errors.ts";
import { orAborted } from "../abort.ts";
import { type Header, sha256 } from "../safetensors.ts";
import type { OpenedSource } from "../source.ts";

const VERSION = "etag";
const DIGEST = "x-espalier-digest";
/** For caches that look at it. Whether a copy is still current is asked every time. */
const KEEP = "public, max-age=31536000";

/** The place of an object in a cache, and what stands there. */
export class CachedCopy {
  readonly #cache: Cache;
  readonly #key: string;
  #response: Response | undefined;

  private constructor(cache: Cache, key: string, response: Response | undefined) {
    this.#cache = cache;
    this.#key = key;
    this.#response = response;
  }

  /**
   * Looks an object up by its address.
   *
   * @throws {TypeError} if it has none.
   */
  static async find(
    cache: Cache,
    source: OpenedSource,
    signal: AbortSignal,
  ): Promise<CachedCopy> {
    const url = "object" in source ? source.object.url : undefined;
    if (url === undefined || !/^https?:/i.test(url)) {
      throw typeError(
        'Cannot use "cache": entries are kept by URL, and this source has none; open a URL, a Request or an S3 object',
        { expected: "http: or https:", actual: url && new URL(url).protocol },
      );
    }
    const key = await cacheKey(url);
    // A cache that fails is a cache without the entry.
    const match = async () => await cache.match(key);
    const response = await orAborted(match().catch(() => undefined), signal, release);
    return new CachedCopy(cache, key, response);
  }

  /** Strong ETag of the object that was copied, if it had one; nothing where there is no copy. */
  get version(): string | undefined {
    return this.#response?.headers.get(VERSION) ?? undefined;
  }

  /** Digest of the index that was copied; undefined where there is no copy. */
  get digest(): string | undefined {
    return this.#response?.headers.get(DIGEST) ?? undefined;
  }

  /** The bytes, once; undefined where there are none. */
  take(): ReadableStream<Uint8Array> | undefined {
    const stream = this.#response?.body ?? undefined;
    this.#response = undefined;
    return stream?.locked ? undefined : stream;
  }

  /** Lets go of what was found. */
  release(): void {
    release(this.#response);
    this.#response = undefined;
  }

  /** Removes the copy. */
  async drop(): Promise<void> {
    this.release();
    try {
      await this.#cache.delete(this.#key);
    } catch {
      // Its digests will tell again.
    }
  }

  /** Puts a whole and sound index in the place. A cache that is full or fails keeps nothing. */
  async store(
    header: Header,
    bytes: ReadableStream<Uint8Array>,
    version: string | undefined,
  ): Promise<void> {
    const headers = new Headers({
      "content-type": "application/octet-stream",
      "content-length": String(header.bytes.length + header.dataByteLength),
      "cache-control": KEEP,
      [DIGEST]: header.digest,
    });
    if (version !== undefined) headers.set(VERSION, version);
    try {
      await this.#cache.put(this.#key, new Response(bytes, { headers }));
    } catch {
      await this.drop();
    }
  }
}

function release(response: Response | undefined): void {
  response?.body?.cancel().catch(() => {});
}

/** Parameters that hold signatures, and those that come with each: S3, Google, CloudFront and former ways of both, Azure. */
const SIGNED: readonly [signature: string, family: RegExp][] = [
  ["x-amz-signature", /^x-amz-/],
  ["x-goog-signature", /^x-goog-/],
  [
    "signature",
    /^(signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|x-amz-security-token)$/,
  ],
  ["sig", /^(sig|st|se|sv|sp|sr|spr|sip|sk(oid|tid|t|e|s|v))$/],
];

/**
 * Addresses of one object under one key: signatures, which change from request to request, are no part of it. What else
 * a query holds may be secret, too: it is told apart by its digest.
 */
async function cacheKey(address: string): Promise<string> {
  const url = new URL(address);
  url.hash = url.username = url.password = "";
  const query = [...url.searchParams];
  const isThere = (signature: string) => query.some(([name]) => name.toLowerCase() === signature);
  const families = SIGNED.filter(([signature]) => isThere(signature)).map(([, family]) => family);
  const rest = query.filter(([name]) =>
    !families.some((family) => family.test(name.toLowerCase()))
  );
  url.search = "";
  if (rest.length > 0) {
    url.search = await sha256(new TextEncoder().encode(JSON.stringify(rest)));
  }
  return url.href;
}
