// The WASM module: all that an opened index needs, what the builder needs, and what tests and benches look at.
export * from "./serving";
export { sampleBits } from "./bits";
export { logSumExp, rowMax, widen } from "./softmax";
export { countBuckets, dealHeap, dealRows, scanColumns, sortHeap, sortRecords, splitRecords } from "./sort";
