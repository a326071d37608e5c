/** Whether there is a GPU to look at. */
import { BackendError } from "../errors.ts";

/** What the caller says about the GPU. */
export interface DeviceOptions {
  /**
   * A device to share; it stays the caller's. Levels beyond 128 MiB need one that was requested with the adapter's
   * `maxBufferSize` and `maxStorageBufferBindingSize`.
   */
  device?: GPUDevice;
  /** Whether an adapter that is only software will do. Default false. */
  allowSoftwareAdapter?: boolean;
  /** Stands in for `navigator.gpu`. */
  gpu?: GPU;
}

/** What gives adapters: `gpu`, or the platform's. @throws {BackendError} where there is nothing. */
export function requireGpu(gpu: GPU | undefined = globalThis.navigator?.gpu): GPU {
  if (gpu) return gpu;
  throw new BackendError("no-webgpu", "Cannot run on WebGPU: this platform does not have it");
}
