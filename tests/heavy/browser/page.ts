/** Runs tests in a page: of WebGPU, the same files as in Deno, compiled by another WGSL compiler; of other origins. */
import { collected } from "./shim.ts";
import "./cross_origin.ts";
import "../../kernels/webgpu/kernel_test.ts";
import "../../kernels/webgpu/search_test.ts";
import "../../kernels/webgpu/filter_test.ts";
import "../../kernels/webgpu/golden_test.ts";

declare global {
  /** Bound by the driver: one line of the report. */
  function report(name: string, error: string | null, milliseconds: number): Promise<void>;
  /** Bound by the driver: all is done. */
  function finish(adapter: string): Promise<void>;
}

for (const { name, run } of collected) {
  const start = performance.now();
  let error: string | null = null;
  try {
    await run();
  } catch (cause) {
    error = cause instanceof Error
      ? [cause.stack, cause.cause].map(String).join("\nCaused by ")
      : String(cause);
  }
  await globalThis.report(name, error, performance.now() - start);
}
const adapter = await navigator.gpu.requestAdapter();
const { vendor, architecture, description } = adapter!.info;
await globalThis.finish([vendor, architecture, description].filter(Boolean).join(" "));
