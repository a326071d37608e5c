/** What Node 20 and some browsers lack. In bundles esbuild puts these in the place of the global names. */
const dispose: typeof Symbol.dispose = Symbol.dispose ?? Symbol.for("Symbol.dispose");
const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ??
  Symbol.for("Symbol.asyncDispose");

function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve!: (value: T | PromiseLike<T>) => void;
  let reject!: (reason?: unknown) => void;
  const promise = new Promise<T>((...functions) => [resolve, reject] = functions);
  return { promise, resolve, reject };
}

export {
  asyncDispose as "Symbol.asyncDispose",
  dispose as "Symbol.dispose",
  withResolvers as "Promise.withResolvers",
};
