/** Which GPU to search on, if any, and why. Read where there is one: elsewhere it would only cost time at a cold start. */
import { BackendError, EspalierError } from "../errors.ts";
import type { LoadedIndex } from "../index/index_memory.ts";
import { misfit, WebGpuKernel } from "../kernels/webgpu/kernel.ts";
import { type DeviceOptions, requireGpu } from "./find_gpu.ts";

/** A GPU that an index is on. */
export interface OpenedGpu extends Disposable {
  readonly kernel: WebGpuKernel;
  /** Whether the device is lost. */
  readonly isLost: boolean;
  /**
   * Whether an error came of the device being lost, out of memory or too small: then the search can start again
   * elsewhere. Waits a little, because the news may come behind the error.
   */
  hasFailed(error: unknown): Promise<boolean>;
}

/** How long the news of a lost device may take to arrive behind the error that it causes. */
const NEWS_MS = 100;
/** Errors after which a search can start again elsewhere. */
const FAILURES = ["out-of-memory", "search-too-large", "index-too-large", "device-lost"];

/**
 * Places the index on a device, when all of it is there.
 *
 * @param isOwned whether the device is destroyed with what is returned, and where this fails.
 * @throws {BackendError} saying why not.
 */
export async function openGpu(
  loaded: LoadedIndex,
  device: GPUDevice,
  isOwned: boolean,
): Promise<OpenedGpu> {
  await loaded.loading.wait(loaded.shape.levels.length).catch((error) => {
    if (isOwned) device.destroy();
    throw error;
  });
  let isLost = false;
  const lost = device.lost.then(() => {
    isLost = true;
  });
  let kernel: WebGpuKernel;
  try {
    kernel = await WebGpuKernel.create(loaded, device);
    if (isLost) {
      kernel[Symbol.dispose]();
      throw new BackendError("device-lost", "Cannot search on WebGPU: the device is lost");
    }
  } catch (error) {
    if (isOwned) device.destroy();
    throw asBackendError(error, "the device does not take the index");
  }
  return {
    kernel,
    get isLost() {
      return isLost;
    },
    async hasFailed(error) {
      if (isLost) return true;
      if (error instanceof EspalierError && error.code !== "validation") {
        return FAILURES.includes(error.code);
      }
      let timer: ReturnType<typeof setTimeout> | undefined;
      await Promise.race([
        lost,
        new Promise((resolve) => timer = setTimeout(resolve, NEWS_MS)),
      ]);
      clearTimeout(timer);
      return isLost;
    },
    [Symbol.dispose]() {
      kernel[Symbol.dispose]();
      if (isOwned) device.destroy();
    },
  };
}

/**
 * Finds an adapter.
 *
 * @returns the adapter, and what it is.
 * @throws {BackendError} saying why there is none.
 */
export async function findAdapter(
  { allowSoftwareAdapter = false, gpu }: DeviceOptions,
): Promise<{ adapter: GPUAdapter; reason: string }> {
  const provider = requireGpu(gpu);
  let adapter: GPUAdapter | null;
  try {
    adapter = await provider.requestAdapter({ powerPreference: "high-performance" });
  } catch (error) {
    throw asBackendError(error, "asking for an adapter failed");
  }
  if (!adapter) {
    throw new BackendError("no-adapter", "Cannot run on WebGPU: there is no adapter");
  }
  // Older browsers have no `info`, or have the flag on the adapter. Deno ends the process if a device is asked for the
  // info of an adapter that was collected; reading it here keeps it.
  const info: Partial<GPUAdapterInfo> = adapter.info ?? {};
  const isSoftware = info.isFallbackAdapter ??
    (adapter as { isFallbackAdapter?: boolean }).isFallbackAdapter ?? false;
  const name = info.description || info.vendor || "unnamed";
  if (isSoftware && !allowSoftwareAdapter) {
    throw new BackendError(
      "software-adapter",
      `Cannot run on WebGPU: the adapter (${name}) is only software, which is slower than WASM; pass allowSoftwareAdapter to use it all the same`,
      { actual: name },
    );
  }
  return { adapter, reason: `${isSoftware ? "software" : "hardware"} adapter ${name}` };
}

/** @throws {BackendError} if an index does not fit an adapter. */
export function checkFit(loaded: LoadedIndex, adapter: GPUAdapter): void {
  const why = misfit(loaded, adapter.limits);
  if (why) throw new BackendError("index-too-large", `Cannot search on WebGPU: ${why}`);
}

/**
 * Asks for a device with all the room that its adapter gives.
 *
 * @param features taken where the adapter has them.
 * @throws {BackendError} if there is none.
 */
export async function requestDevice(
  adapter: GPUAdapter,
  features: readonly GPUFeatureName[] = [],
): Promise<GPUDevice> {
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  try {
    return await adapter.requestDevice({
      label: "espalier",
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
      requiredFeatures: features.filter((feature) => adapter.features.has(feature)),
    });
  } catch (error) {
    throw asBackendError(error, "the adapter gives no device");
  }
}

function asBackendError(error: unknown, what: string): unknown {
  if (error instanceof EspalierError) return error;
  const why = error instanceof Error ? `: ${error.message}` : "";
  return new BackendError("no-device", `Cannot run on WebGPU: ${what}${why}`, {}, {
    cause: error,
  });
}
