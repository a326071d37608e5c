/** Copies per-beam rows (KV caches) to the rows that continue them: target[row] = source[parents[row]]. */

/** The kernel as data. */
export const REORDER_KERNEL = {
  label: "espalier reorder",
  bindings: ["uniform", "read-only-storage", "read-only-storage", "storage"] as const,
  code: /* wgsl */ `
struct Shape {
  rows: u32,
  /** Words of a row. */
  words: u32,
  gridX: u32,
}
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> parents: array<u32>;
@group(0) @binding(2) var<storage, read> source: array<u32>;
@group(0) @binding(3) var<storage, read_write> goal: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let word = (group.y * shape.gridX + group.x) * 256u + lane;
  if (word >= shape.rows * shape.words) { return; }
  goal[word] = source[parents[word / shape.words] * shape.words + word % shape.words];
}
`,
};
