/** The GPU that a command runs a model on, if any, and why. */
import { BackendError } from "../../errors.ts";

/** Where models and searches are to run, as `--backend` takes it. */
export type BackendChoice = "auto" | "wasm" | "webgpu";

/** A device, or why there is none. */
export interface Device {
  readonly device?: GPUDevice;
  readonly reason: string;
}

/**
 * Asks for a device with all the room that its adapter gives.
 *
 * @param choice `"auto"`: none where there is no hardware adapter. `"webgpu"`: one that is only software will do.
 * @throws {BackendError} with code `"no-adapter"` or `"no-device"`, where one was asked for and there is none.
 */
export async function findDevice(choice: BackendChoice): Promise<Device> {
  if (choice === "wasm") return { reason: "asked for" };
  try {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) return without(choice, "no-adapter", "there is no WebGPU adapter");
    // Deno ends the process where a device is asked for the info of an adapter that was collected. To read it keeps that.
    const { info, limits, features } = adapter;
    if (info.isFallbackAdapter && choice === "auto") {
      return { reason: `the adapter (${info.description}) is only software` };
    }
    const { maxBufferSize, maxStorageBufferBindingSize } = limits;
    const device = await adapter.requestDevice({
      label: "espalier",
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
      // Models in half precision need it.
      requiredFeatures: features.has("shader-f16") ? ["shader-f16"] : [],
    });
    return { device, reason: info.description || info.vendor };
  } catch (error) {
    if (error instanceof BackendError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    return without(choice, "no-device", `there is no WebGPU device: ${why}`, error);
  }
}

function without(choice: BackendChoice, code: string, reason: string, cause?: unknown): Device {
  if (choice === "auto") return { reason };
  const facts = { expected: "webgpu" };
  throw new BackendError(code, `Cannot run on WebGPU: ${reason}`, facts, { cause });
}
