/** What the kernels need of a device: limits, pipelines, buffers that are counted. */
import { BackendError } from "../../errors.ts";
import type { WasmHeap } from "../../wasm/heap.ts";
import { MERGE_KERNEL } from "./shaders/merge.ts";
import { ROWS_KERNEL } from "./shaders/rows.ts";

/** A kernel as data: its code, and the kinds of its bindings in order. The first uniform has a dynamic offset. */
export interface KernelSource {
  label: string;
  bindings: readonly GPUBufferBindingType[];
  code: string;
}

/** A compiled kernel. */
export interface CompiledKernel {
  pipeline: GPUComputePipeline;
  layout: GPUBindGroupLayout;
}

/** The kernels of a step. */
export interface Pipelines {
  rows: CompiledKernel;
  merge: CompiledKernel;
}

const compiled = new WeakMap<GPUDevice, Map<KernelSource, Promise<CompiledKernel>>>();

/**
 * Compiles the kernels of a step, once per device.
 *
 * @throws {BackendError} with the compiler's messages and the lines at fault.
 */
export async function compilePipelines(device: GPUDevice): Promise<Pipelines> {
  const [rows, merge] = await Promise.all([
    compileOnce(device, ROWS_KERNEL),
    compileOnce(device, MERGE_KERNEL),
  ]);
  return { rows, merge };
}

/** As {@linkcode compileKernel}, once per device; a failure is not kept. */
export async function compileOnce(
  device: GPUDevice,
  source: KernelSource,
): Promise<CompiledKernel> {
  let kernels = compiled.get(device);
  if (!kernels) compiled.set(device, kernels = new Map());
  let pending = kernels.get(source);
  if (!pending) kernels.set(source, pending = compileKernel(device, source));
  try {
    return await pending;
  } catch (error) {
    kernels.delete(source);
    throw error;
  }
}

/**
 * Compiles one kernel.
 *
 * @throws {BackendError} with the compiler's messages and the lines at fault.
 */
export async function compileKernel(
  device: GPUDevice,
  source: KernelSource,
): Promise<CompiledKernel> {
  const { label, bindings, code } = source;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label, code });
  const layout = device.createBindGroupLayout({
    label,
    entries: bindings.map((type, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type, hasDynamicOffset: type === "uniform" },
    })),
  });
  const invalid = device.popErrorScope();
  let pipeline: GPUComputePipeline | undefined;
  let failure: unknown;
  try {
    pipeline = await device.createComputePipelineAsync({
      label,
      layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    });
  } catch (error) {
    failure = error;
  }
  const error = await invalid;
  if (pipeline && !error) return { pipeline, layout };
  const { messages } = await module.getCompilationInfo();
  const lines = code.split("\n");
  const details = messages.map(({ type, lineNum, linePos, message }) =>
    `${type} at ${lineNum}:${linePos}: ${message}: ${lines[lineNum - 1]?.trim() ?? ""}`
  );
  throw new BackendError(
    "bad-kernel",
    `Cannot compile the kernel "${label}" on this device; use backend "wasm"; ${
      [error?.message, ...details].filter(Boolean).join("; ")
    }`,
    { actual: label },
    { cause: failure },
  );
}

/** Buffers made and not yet destroyed, per device: what tests of leaks look at. */
export const liveBuffers = new WeakMap<GPUDevice, number>();

/** Makes a buffer and counts it. */
export function makeBuffer(
  device: GPUDevice,
  label: string,
  size: number,
  usage: number,
): GPUBuffer {
  liveBuffers.set(device, (liveBuffers.get(device) ?? 0) + 1);
  return device.createBuffer({
    label: `espalier ${label}`,
    size: Math.max(256, Math.ceil(size / 16) * 16),
    usage,
  });
}

/** Destroys a buffer that {@linkcode makeBuffer} made. */
export function freeBuffer(device: GPUDevice, buffer: GPUBuffer): void {
  liveBuffers.set(device, (liveBuffers.get(device) ?? 0) - 1);
  buffer.destroy();
}

const UPLOAD_BYTES = 2 ** 24;

/** Copies bytes of the heap to a buffer, piece by piece. */
export function upload(
  device: GPUDevice,
  heap: WasmHeap,
  { address, byteLength }: { readonly address: number; readonly byteLength: number },
  target: GPUBuffer,
  offset: number,
): void {
  for (let at = 0; at < byteLength; at += UPLOAD_BYTES) {
    const bytes = heap.u8(address + at, Math.min(UPLOAD_BYTES, byteLength - at));
    device.queue.writeBuffer(target, offset + at, bytes);
  }
}

/** Most workgroups in one dimension, on every device. */
export const MAX_GRID = 65535;

/** A grid of at least so many workgroups: what does not fit into x goes to y. */
export function gridOf(groups: number): [x: number, y: number] {
  const x = Math.min(groups, MAX_GRID);
  return [x, Math.ceil(groups / x)];
}

/**
 * Encodes and submits one kernel over whole buffers. Does not wait.
 *
 * @param buffers in the order of the kernel's bindings.
 */
export function dispatch(
  device: GPUDevice,
  label: string,
  { pipeline, layout }: CompiledKernel,
  buffers: readonly GPUBuffer[],
  [x, y]: readonly [x: number, y: number],
): void {
  const encoder = device.createCommandEncoder({ label });
  const pass = encoder.beginComputePass({ label });
  pass.setPipeline(pipeline);
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  pass.setBindGroup(0, device.createBindGroup({ label, layout, entries }), [0]);
  pass.dispatchWorkgroups(x, y);
  pass.end();
  device.queue.submit([encoder.finish()]);
}
