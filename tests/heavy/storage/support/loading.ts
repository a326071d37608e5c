/** Files behind nginx behind a proxy, and what a load is expected to ask for and to come to. */
import assert from "node:assert/strict";
import {
  ConstraintIndex,
  EspalierError,
  type IndexSource,
  type OpenOptions,
} from "../../../../mod.ts";
import { sameBytes } from "../../../support/corrupt.ts";
import { type FaultProxy, startProxy } from "../servers/faults.ts";
import { type Nginx, startNginx } from "../servers/nginx.ts";
import type { File } from "../../../support/index_files.ts";

/** What tests work with. */
export interface Served {
  nginx: Nginx;
  proxy: FaultProxy;
  /** Writes a file; another time makes another ETag even where the size is the same. */
  put(name: string, file: File): Promise<void>;
}

/** Runs with nginx, which serves the files, and a proxy before it. */
export async function served(
  files: Record<string, File>,
  use: (served: Served) => Promise<void>,
): Promise<void> {
  await using nginx = await startNginx();
  await using proxy = await startProxy(nginx.url);
  let seconds = 1_700_000_000;
  const put = async (name: string, file: File) => {
    const path = `${nginx.root}/${name}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    // By another name first: nginx is to see one version or the other.
    await Deno.writeFile(`${path}.new`, file);
    await Deno.utime(`${path}.new`, ++seconds, seconds);
    await Deno.rename(`${path}.new`, path);
  };
  for (const [name, file] of Object.entries(files)) await put(name, file);
  try {
    await use({ nginx, proxy, put });
  } catch (error) {
    throw new Error(`With ${proxy.url} before ${nginx.url}\n${await nginx.logs()}`, {
      cause: error,
    });
  }
}

/** Opens, waits until all is there, and compares. */
export async function opensAs(
  source: IndexSource,
  file: File,
  options?: OpenOptions,
): Promise<void> {
  using index = await ConstraintIndex.open(source, options);
  await index.ready;
  assertSameFile(index, file);
}

/** Asserts that an index is a file, bit for bit. */
export function assertSameFile(index: ConstraintIndex, file: File): void {
  assert.ok(sameBytes(index.toBytes(), file), "These are other bytes");
}

/** What a load fails with: an error of ours with this code. */
export async function fails(
  source: IndexSource,
  code: string,
  options?: OpenOptions,
): Promise<EspalierError> {
  const error = await failure(source, options);
  assert.ok(error instanceof EspalierError, `${error}`);
  assert.equal(error.code, code, error.message);
  return error;
}

/** Whatever a load fails with. */
export async function failure(source: IndexSource, options?: OpenOptions): Promise<unknown> {
  try {
    using index = await ConstraintIndex.open(source, options);
    await index.ready;
  } catch (error) {
    return error;
  }
  assert.fail("It opens");
}

/** What was asked for: `"all"`, or a range like `"5-99"`. */
export function asked(proxy: FaultProxy): string[] {
  return proxy.requests.map(({ range }) => range?.replace(/^bytes=/, "") ?? "all");
}

/** A request that goes on from about this byte: what was on its way when a stream broke off may be lost. */
export interface Resumed {
  from: number;
  /** How much may be lost; an eighth, and what a read takes in any case, unless told otherwise. */
  lost?: number;
}

/** Asserts what was asked for, in this order. */
export function assertAsked(proxy: FaultProxy, expected: readonly (string | Resumed)[]): void {
  const ranges = asked(proxy);
  const text = `${ranges.join(", ")}, not ${JSON.stringify(expected)}`;
  assert.equal(ranges.length, expected.length, text);
  expected.forEach((wanted, i) => {
    if (typeof wanted === "string") return assert.equal(ranges[i], wanted, text);
    const { from, lost = 2 ** 19 + from / 8 } = wanted;
    const start = Number(ranges[i].match(/^(\d+)-\d*$/)?.[1] ?? 0);
    assert.ok(start <= from && start >= from - lost, text);
  });
}

/** A `fetch` that counts. */
export function counting(): { fetch: typeof fetch; requests: Request[] } {
  const requests: Request[] = [];
  return {
    requests,
    fetch: (input, init) => {
      requests.push(new Request(input, init));
      return fetch(input, init);
    },
  };
}
