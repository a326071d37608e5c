/** The GPU that a command runs a model on, if any, and why. */
import { findAdapter, requestDevice } from "../../decode/device.ts";
import { BackendError } from "../../errors.ts";

/** Where models and searches are to run, as `--backend` takes it. */
export type BackendChoice = "auto" | "wasm" | "webgpu";

/** A device, or why there is none. */
export interface Device {
  readonly device?: GPUDevice;
  readonly reason: string;
}

/**
 * Finds a device for models and searches.
 *
 * @param choice `"auto"`: none where there is no hardware adapter. `"webgpu"`: one that is only software will do.
 * @throws {BackendError} where one was asked for and there is none.
 */
export async function findDevice(choice: BackendChoice): Promise<Device> {
  if (choice === "wasm") return { reason: "asked for" };
  try {
    const allowSoftwareAdapter = choice === "webgpu";
    const { adapter, reason } = await findAdapter({ allowSoftwareAdapter });
    // Models in half precision need the feature.
    return { device: await requestDevice(adapter, ["shader-f16"]), reason };
  } catch (error) {
    if (choice === "webgpu" || !(error instanceof BackendError)) throw error;
    // The library has an option for it; here it is a flag.
    const isSoftware = error.code === "software-adapter";
    const advice = `the adapter (${error.actual}) is only software; --backend webgpu takes it`;
    return { reason: isSoftware ? advice : error.message };
  }
}
