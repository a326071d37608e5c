// The WASM module: all that an opened index needs, and the builder's sort.
export * from "./serving";
export { countBuckets, dealHeap, dealRows, scanColumns, sortHeap, sortRecords, splitRecords } from "./sort";
