/** The ids of the next call: those of each row's parent, and behind them its tokens, as int32 or int64. */

/** The kernel as data. */
export const IDS_KERNEL = {
  label: "espalier ids",
  bindings: [
    "uniform",
    "read-only-storage",
    "read-only-storage",
    "read-only-storage",
    "storage",
  ] as const,
  code: /* wgsl */ `
struct Shape {
  rows: u32,
  /** Ids of a row, and how many of them are new. */
  total: u32,
  width: u32,
  /** Words of an id: 1, or 2 of which the second is zero. */
  words: u32,
  gridX: u32,
}
@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> parents: array<u32>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
/** [rows of the step before, total - width] */
@group(0) @binding(3) var<storage, read> before: array<u32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let id = (group.y * shape.gridX + group.x) * 256u + lane;
  if (id >= shape.rows * shape.total) { return; }
  let row = id / shape.total;
  let column = id % shape.total;
  let old = shape.total - shape.width;
  var token = 0u;
  if (column < old) {
    token = before[(parents[row] * old + column) * shape.words];
  } else {
    token = tokens[row * shape.width + column - old];
  }
  ids[id * shape.words] = token;
  if (shape.words == 2u) { ids[id * 2u + 1u] = 0u; }
}
`,
};
