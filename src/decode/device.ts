/** Which GPU to search on, if any, and why. */
import { BackendError, EspalierError } from "../errors.ts";
import type { IndexStorage } from "../index/storage.ts";
import { misfit, WebGpuKernel } from "../kernels/webgpu/kernel.ts";

/** What the caller says about the GPU. */
export interface DeviceOptions {
  /** A device to share; it stays the caller's. Default: one of its own. */
  device?: GPUDevice;
  /** Whether an adapter that is only software will do. Default false. */
  allowSoftwareAdapter?: boolean;
}

/** A GPU that an index is on. */
export interface OpenedGpu extends Disposable {
  readonly kernel: WebGpuKernel;
  /** What it is, for `decoder.reason`. */
  readonly reason: string;
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

/**
 * Opens a GPU and places the index on it.
 *
 * @throws {BackendError} saying why not.
 */
export async function openGpu(storage: IndexStorage, options: DeviceOptions): Promise<OpenedGpu> {
  const { device, reason } = options.device
    ? { device: options.device, reason: "the device that was passed" }
    : await requestDevice(storage, options.allowSoftwareAdapter === true);
  const close = () => {
    if (!options.device) device.destroy();
  };
  let isLost = false;
  const lost = device.lost.then(() => {
    isLost = true;
  });
  try {
    const kernel = await WebGpuKernel.create(storage, device);
    return {
      kernel,
      reason,
      get isLost() {
        return isLost;
      },
      async hasFailed(error) {
        if (error instanceof EspalierError && error.code !== "validation") {
          return isLost || error.code === "out-of-memory" || error.code === "search-too-large";
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
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

async function requestDevice(
  storage: IndexStorage,
  allowSoftware: boolean,
): Promise<{ device: GPUDevice; reason: string }> {
  const { gpu } = globalThis.navigator ?? {};
  if (!gpu) {
    throw new BackendError("no-webgpu", "Cannot search on WebGPU: this platform does not have it");
  }
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new BackendError("no-adapter", "Cannot search on WebGPU: there is no adapter");
  }
  const { description, vendor, isFallbackAdapter } = adapter.info;
  const name = description || vendor || "unnamed";
  if (isFallbackAdapter && !allowSoftware) {
    throw new BackendError(
      "software-adapter",
      `Cannot search on WebGPU: the adapter (${name}) is only software, which is slower than WASM; pass allowSoftwareAdapter to use it all the same`,
      { actual: name },
    );
  }
  const why = misfit(storage, adapter.limits);
  if (why) throw new BackendError("index-too-large", `Cannot search on WebGPU: ${why}`);
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const device = await adapter.requestDevice({
    label: "espalier",
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
  });
  return { device, reason: `${isFallbackAdapter ? "software" : "hardware"} adapter ${name}` };
}
