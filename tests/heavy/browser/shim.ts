/** Stands in for what Deno gives to test files: collects the tests for the page to run. */

/** A test that a test file registered. */
export interface CollectedTest {
  name: string;
  run: () => void | Promise<void>;
}

/** In the order of registration. */
export const collected: CollectedTest[] = [];

Object.assign(globalThis, {
  Deno: {
    test(name: string, run: CollectedTest["run"]): void {
      collected.push({ name, run });
    },
  },
});
