/** Tries models on the GPU: whether they stay there, and do nothing that it refuses. */
import { BackendError } from "../../errors.ts";
import { freeBuffer, makeBuffer } from "../../kernels/webgpu/device.ts";
import type { OnnxSessions } from "./decode_steps.ts";
import { gpuReorder } from "./gpu.ts";
import type { StepLogits } from "./logits.ts";
import { probe, type Probed } from "./probe.ts";
import { inTurn } from "./session.ts";
import { unsupported } from "./signature.ts";

/**
 * Tries a model on the GPU, and looks whether it stays there. Reads its logits back, to compare them.
 *
 * @throws {BackendError} with code `"unsupported-model"` if a step fails; with code `"reads-back"` if a graph does.
 */
export async function probeGpu(sessions: OnnxSessions, device: GPUDevice): Promise<Probed> {
  return await inTurn(device, () => watchedProbe(sessions, device));
}

/** Models are tried one at a time on a device: what each maps, and what it does wrong, is its own. */
async function watchedProbe(sessions: OnnxSessions, device: GPUDevice): Promise<Probed> {
  using buffers = new TrialBuffers(device);
  using readbacks = new Readbacks(device);
  const check = ({ tensor }: StepLogits) => {
    if (tensor.location === "gpu-buffer" && readbacks.count === 0) return;
    throw new BackendError(
      "reads-back",
      `The ONNX model ${
        readbacks.count > 0
          ? `reads back from the GPU ${readbacks.count} times in a step: some of its nodes run on the CPU`
          : `leaves its logits on the ${tensor.location}`
      }`,
      { expected: 0, actual: readbacks.count },
    );
  };
  const { result, error } = await withScopes(
    device,
    () =>
      probe(sessions, gpuReorder(sessions.ort, device), {
        ids: (values) => buffers.upload(values),
        async read(logits) {
          check(logits);
          return await buffers.read(logits);
        },
        async run(call) {
          const { result, error } = await withScopes(device, call).finally(() =>
            readbacks.count = 0
          );
          if (error) throw new Error(`the GPU refuses it: ${error.message}`);
          return result;
        },
        hasLengths: false,
      }),
  );
  if (error) throw unsupported("model", "", `is refused by the GPU: ${error.message}`);
  return result;
}

/** Calls, and tells what the GPU refuses in the meantime. */
async function withScopes<T>(
  device: GPUDevice,
  call: () => Promise<T>,
): Promise<{ result: T; error?: GPUError }> {
  const filters = ["internal", "out-of-memory", "validation"] as const;
  for (const filter of filters) device.pushErrorScope(filter);
  // A lost device has no scopes.
  const pop = () => Promise.all(filters.map(() => device.popErrorScope().catch(() => null)));
  try {
    const result = await call();
    return { result, error: (await pop()).find((error) => error !== null) ?? undefined };
  } catch (thrown) {
    await pop();
    throw thrown;
  }
}

/** Ids for a trial, and the way back for its logits. */
class TrialBuffers implements Disposable {
  #device: GPUDevice;
  #buffers: GPUBuffer[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  upload(values: readonly number[]): GPUBuffer {
    const { STORAGE, COPY_DST } = GPUBufferUsage;
    const buffer = this.#make("onnx trial", values.length * 4, STORAGE | COPY_DST);
    if (values.length > 0) this.#device.queue.writeBuffer(buffer, 0, Uint32Array.from(values));
    return buffer;
  }

  async read({ tensor }: StepLogits): Promise<Float32Array | Uint16Array> {
    const isHalf = tensor.type === "float16";
    const count = tensor.dims.reduce((a, b) => a * b, 1);
    const bytes = Math.ceil(count * (isHalf ? 2 : 4) / 4) * 4;
    const { COPY_DST, MAP_READ } = GPUBufferUsage;
    const staging = this.#make("onnx trial staging", bytes, COPY_DST | MAP_READ);
    const encoder = this.#device.createCommandEncoder({ label: "espalier onnx trial" });
    encoder.copyBufferToBuffer(tensor.gpuBuffer as GPUBuffer, 0, staging, 0, bytes);
    this.#device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ, 0, bytes);
    const data = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    return isHalf ? new Uint16Array(data, 0, count) : new Float32Array(data);
  }

  #make(label: string, size: number, usage: number): GPUBuffer {
    const buffer = makeBuffer(this.#device, label, size, usage);
    this.#buffers.push(buffer);
    return buffer;
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#buffers) freeBuffer(this.#device, buffer);
  }
}

/** Counts what others map of a device while a model is tried. */
class Readbacks implements Disposable {
  count = 0;
  #device: GPUDevice;
  /** Somebody else's stand-in for the method, if there is one. */
  #own: PropertyDescriptor | undefined;

  constructor(device: GPUDevice) {
    const { createBuffer } = device;
    this.#device = device;
    this.#own = Object.getOwnPropertyDescriptor(device, "createBuffer");
    device.createBuffer = (descriptor) => {
      const buffer = createBuffer.call(device, descriptor);
      const isOurs = descriptor.label?.startsWith("espalier ") ?? false;
      if (!isOurs && descriptor.usage & GPUBufferUsage.MAP_READ) {
        const { mapAsync } = buffer;
        buffer.mapAsync = (...args) => {
          this.count++;
          return mapAsync.apply(buffer, args);
        };
      }
      return buffer;
    };
  }

  [Symbol.dispose](): void {
    if (this.#own) Object.defineProperty(this.#device, "createBuffer", this.#own);
    else Reflect.deleteProperty(this.#device, "createBuffer");
  }
}
