/** As much of node:assert/strict as the tests of this folder's page use. */

class AssertionError extends Error {
  override name = "AssertionError";
}

function fail(message: string): never {
  throw new AssertionError(message);
}

const show = (value: unknown) => {
  try {
    return JSON.stringify(value)?.slice(0, 300) ?? String(value);
  } catch {
    return String(value);
  }
};

function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) =>
      isSame((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key])
    );
}

type Matcher =
  | RegExp
  | Error
  | (new (...args: never[]) => unknown)
  | Record<string, unknown>
  | (
    (error: unknown) => boolean
  );

function matches(error: unknown, wanted: Matcher): boolean {
  if (wanted instanceof RegExp) return wanted.test(String(error));
  if (typeof wanted === "function") {
    if (wanted.prototype !== undefined) return error instanceof wanted;
    return (wanted as (error: unknown) => boolean)(error);
  }
  return Object.entries(wanted).every(([key, value]) => {
    const found = (error as Record<string, unknown>)[key];
    return value instanceof RegExp ? value.test(String(found)) : isSame(found, value);
  });
}

const assert = {
  ok(value: unknown, message = "Expected a truthy value"): void {
    if (!value) fail(message);
  },
  equal(actual: unknown, expected: unknown, message = ""): void {
    if (!Object.is(actual, expected)) {
      fail(`${message}: expected ${show(expected)}, got ${show(actual)}`);
    }
  },
  notEqual(actual: unknown, other: unknown, message = ""): void {
    if (Object.is(actual, other)) fail(`${message}: got ${show(actual)}`);
  },
  deepEqual(actual: unknown, expected: unknown, message = ""): void {
    if (!isSame(actual, expected)) {
      fail(`${message}: expected ${show(expected)}, got ${show(actual)}`);
    }
  },
  match(text: string, pattern: RegExp): void {
    if (!pattern.test(text)) fail(`Expected ${pattern}, got ${show(text)}`);
  },
  throws(run: () => unknown, wanted?: Matcher): void {
    try {
      run();
    } catch (error) {
      if (wanted && !matches(error, wanted)) fail(`Threw ${error}, expected ${show(wanted)}`);
      return;
    }
    fail("Expected an exception");
  },
  async rejects(promise: Promise<unknown>, wanted?: Matcher | string): Promise<void> {
    try {
      await promise;
    } catch (error) {
      // A string is what to say if nothing is rejected.
      if (wanted && typeof wanted !== "string" && !matches(error, wanted)) {
        fail(`Rejected with ${error}, not ${show(wanted)}`);
      }
      return;
    }
    fail(typeof wanted === "string" ? wanted : "Expected a rejection");
  },
};

export default assert;
