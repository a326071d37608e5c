/** Cloudflare R2, as workerd simulates it. */
import os from "node:os";
import process from "node:process";
import { Programs } from "./programs.ts";

/** A running store. */
export interface R2 extends AsyncDisposable {
  /** The binding that a Worker has, through a proxy: bodies are streams all the same. */
  readonly bucket: R2Bucket;
  /** Where the Worker answers. */
  readonly url: URL;
  /** Where V8's inspector listens, if it was asked for. */
  inspector(): Promise<URL>;
}

/** Options of Miniflare. */
export interface R2Options {
  inspectorPort?: number;
}

/** A module of a Worker. */
export interface WorkerModule {
  type: "ESModule" | "CompiledWasm";
  path: string;
  contents: string | Uint8Array;
}

/** As much of the binding as tests use. Its own types stand in a package that we do not need. */
export interface R2Bucket {
  put(key: string, value: Uint8Array): Promise<{ etag: string }>;
  /** Null if there is no such object. Without `body` if `onlyIf` does not hold. */
  get(
    key: string,
    options?: {
      range?: { offset: number; length?: number };
      onlyIf?: { etagMatches: string };
    },
  ): Promise<R2Object | null>;
  delete(key: string): Promise<void>;
}

/** An object, or the part of it that was asked for. */
export interface R2Object {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Bytes of the whole. */
  readonly size: number;
  /** Strong, without quotes. */
  readonly etag: string;
  readonly range?: { offset?: number; length?: number };
  arrayBuffer(): Promise<ArrayBuffer>;
}

/** Why R2 cannot be started here, if so. */
export async function r2Missing(): Promise<string | undefined> {
  try {
    await load();
  } catch (error) {
    return `no miniflare here (${error instanceof Error ? error.message : error})`;
  }
}

const EMPTY_WORKER: WorkerModule = {
  type: "ESModule",
  path: "worker.js",
  contents: "export default {}",
};

let turn: Promise<unknown> = Promise.resolve();

/**
 * Starts R2 with an empty bucket, and a Worker that has it as `env.INDEXES`; its first module is the entry point.
 * Takes 0.5 s.
 */
export function startR2(
  modules: WorkerModule[] = [EMPTY_WORKER],
  options: R2Options = {},
): Promise<R2> {
  // One after the other: what this thread takes for its environment tells Miniflare what to start.
  const started = turn.then(() => start(modules, options));
  turn = started.catch(() => {});
  return started;
}

async function start(modules: WorkerModule[], options: R2Options): Promise<R2> {
  const { Miniflare, workerd } = await load();
  const programs = await Programs.open("espalier-r2-");
  const { folder } = programs;
  // Miniflare's workerd would outlive a test process that dies: so it tells which process it is.
  const pidFile = `${folder}/pid`;
  const wrapper = `${folder}/workerd`;
  const script = `#!/bin/sh\necho $$ >"${pidFile}"\nexec "${workerd}" "$@"\n`;
  await Deno.writeTextFile(wrapper, script, { mode: 0o700 });
  programs.atEnd("kill", ["sh", "-c", 'kill -9 "$(cat "$0")"', pidFile]);
  // The environment itself is that of all test files, which run at the same time: with another TMPDIR, their servers
  // would keep their files in our folder, and lose them with it.
  const { env } = process;
  const { tmpdir } = os;
  process.env = { ...env, MINIFLARE_WORKERD_PATH: wrapper };
  os.tmpdir = () => folder;
  let worker: InstanceType<typeof Miniflare> | undefined;
  const dispose = async () => {
    await worker?.dispose();
    // Whoever has that number now is none of ours.
    await Deno.remove(pidFile).catch(() => {});
    await programs[Symbol.asyncDispose]();
  };
  try {
    worker = new Miniflare({
      modules,
      compatibilityDate: "2026-01-01",
      cf: false, // else it downloads something
      r2Buckets: ["INDEXES"],
      ...options,
    });
    const bucket: unknown = await worker.getR2Bucket("INDEXES");
    const url = await worker.ready;
    const inspector = () => worker!.getInspectorURL();
    return { bucket: bucket as R2Bucket, url, inspector, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  } finally {
    process.env = env;
    os.tmpdir = tmpdir;
  }
}

async function load() {
  const { Miniflare } = await import("miniflare");
  // The one that this Miniflare depends on. CommonJS within a module, without types: hence twice.
  const workerd: { default: { default: string } } = await import("workerd");
  return { Miniflare, workerd: workerd.default.default };
}
