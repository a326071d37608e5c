/** A GPU to test on, and models that live there. */
import type { GpuModel, GpuRunInput, GpuRunLogits, Model } from "../../mod.ts";

const NO_ADAPTER =
  "no GPU adapter here; a software one will do (Debian: mesa-vulkan-drivers, libvulkan1)";

/** Opens a device on whatever adapter there is. */
export async function openDevice(): Promise<GPUDevice> {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error(NO_ADAPTER);
  return await adapter.requestDevice();
}

/**
 * Registers tests that need a device. Without an adapter they are skipped, and say why; in CI, where `CI` is set,
 * that is a failure.
 */
export async function withDevice(what: string, register: (device: GPUDevice) => void) {
  if (await navigator.gpu?.requestAdapter()) return register(await openDevice());
  const isCi = "permissions" in Deno &&
    Deno.permissions.querySync({ name: "env", variable: "CI" }).state === "granted" &&
    Boolean(Deno.env.get("CI"));
  if (isCi) throw new Error(`Cannot test ${what}: ${NO_ADAPTER}`);
  console.log(`Skipped: ${what}, because there is ${NO_ADAPTER}`);
  Deno.test({ name: `${what} (skipped: ${NO_ADAPTER})`, ignore: true, fn() {} });
}

/** How a model leaves its logits: element type, elements from row to row beyond W, elements in front. */
export interface GpuLayout {
  type: "float32" | "float16";
  extra: number;
  front: number;
}

/** The model of the golden file (tests/suites/golden/README.md), as a kernel. W logits per row. */
export class GoldenGpuModel implements GpuModel {
  readonly device: GPUDevice;
  readonly cpu?: Model;
  readonly liveRows: boolean;
  readonly scoreRuns?: (input: GpuRunInput) => GpuRunLogits;
  /** Calls, and positions of all rows of all calls. */
  steps = 0;
  positions = 0;
  #pipeline: GPUComputePipeline;
  #logits: GPUBuffer;
  #shape: GPUBuffer;
  #width: number;
  #layout: GpuLayout;

  constructor(
    device: GPUDevice,
    width: number,
    rows: number,
    { cpu, layout = { type: "float32", extra: 0, front: 0 }, liveRows = false, runs = false }: {
      cpu?: Model;
      layout?: GpuLayout;
      liveRows?: boolean;
      /** Then `rows` are positions of all rows. */
      runs?: boolean;
    } = {},
  ) {
    this.device = device;
    this.cpu = cpu;
    this.liveRows = liveRows;
    if (runs) {
      this.scoreRuns = ({ width, ...input }) => {
        const logits = this.step(input, width);
        return { ...logits, rowStride: width * logits.rowStride, positionStride: logits.rowStride };
      };
    }
    this.#width = width;
    this.#layout = layout;
    const size = layout.type === "float16" ? 2 : 4;
    this.#logits = device.createBuffer({
      label: "test logits",
      size: Math.ceil((layout.front + rows * (width + layout.extra)) * size / 4) * 4,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    });
    this.#shape = device.createBuffer({
      label: "test shape",
      size: 32,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    const module = device.createShaderModule({ label: "golden model", code: GOLDEN_WGSL });
    this.#pipeline = device.createComputePipeline({
      label: "golden model",
      layout: "auto",
      compute: { module, entryPoint: layout.type === "float16" ? "half" : "single" },
    });
  }

  step({ step, rows, beamSize, tokens }: Parameters<GpuModel["step"]>[0], width = 1) {
    this.steps++;
    this.positions += rows * width;
    const { type, extra, front } = this.#layout;
    const stride = this.#width + extra;
    const perBatch = step === 0 ? 1 : beamSize;
    this.device.queue.writeBuffer(
      this.#shape,
      0,
      Uint32Array.of(step, rows, perBatch, this.#width, stride, front, width),
    );
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#pipeline);
    pass.setBindGroup(
      0,
      this.device.createBindGroup({
        layout: this.#pipeline.getBindGroupLayout(0),
        entries: [this.#shape, tokens, this.#logits].map((buffer, binding) => ({
          binding,
          resource: { buffer },
        })),
      }),
    );
    const elements = type === "float16" ? 2 : 1;
    pass.dispatchWorkgroups(Math.ceil((front + rows * width * stride) / (64 * elements)));
    pass.end();
    this.device.queue.submit([encoder.finish()]);
    const offset = front * (type === "float16" ? 2 : 4);
    return { buffer: this.#logits, offset, rowStride: stride, type };
  }

  destroy(): void {
    this.#logits.destroy();
    this.#shape.destroy();
  }
}

const GOLDEN_WGSL = /* wgsl */ `
struct Shape {
  step: u32, rows: u32, perBatch: u32, width: u32, stride: u32, front: u32,
  /** Of each row. */
  positions: u32,
}
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> logits: array<u32>;

fn mix32(x: u32) -> u32 {
  var h = x;
  h ^= h >> 16u;
  h *= 0x7feb352du;
  h ^= h >> 15u;
  h *= 0x846ca68bu;
  return h ^ (h >> 16u);
}

/** Logit at an element of the buffer; what is no logit is large, so that reading it shows. */
fn logit(element: u32) -> f32 {
  if (element < shape.front) { return 1000.0; }
  let place = (element - shape.front) / shape.stride;
  let row = place / shape.positions;
  let step = shape.step + place % shape.positions;
  let v = (element - shape.front) % shape.stride;
  if (row >= shape.rows || v >= shape.width) { return 1000.0; }
  var last = 0u;
  if (step > 0u) { last = tokens[place]; }
  let h = mix32(last * 0x9e3779b1u + step * 0xc2b2ae3du +
    (row / shape.perBatch) * 0x27d4eb2fu + v * 0x85ebca77u);
  return f32(h >> 8u) * 0x1p-21f - 4.0;
}

@compute @workgroup_size(64)
fn single(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&logits)) { logits[id.x] = bitcast<u32>(logit(id.x)); }
}

@compute @workgroup_size(64)
fn half(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&logits)) {
    logits[id.x] = pack2x16float(vec2f(logit(2u * id.x), logit(2u * id.x + 1u)));
  }
}
`;

/** Counts what is mapped while `run` runs. */
export async function countReadbacks(run: () => Promise<unknown>): Promise<number> {
  const { mapAsync } = GPUBuffer.prototype;
  let count = 0;
  GPUBuffer.prototype.mapAsync = function (...args: Parameters<typeof mapAsync>) {
    count++;
    return mapAsync.apply(this, args);
  };
  try {
    await run();
  } finally {
    GPUBuffer.prototype.mapAsync = mapAsync;
  }
  return count;
}
