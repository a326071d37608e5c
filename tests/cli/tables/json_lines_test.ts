/** JSON lines: what is read, and what is refused where. */

import assert from "node:assert/strict";
import { BuildInputError } from "../../../src/errors.ts";
import { readJsonLines } from "../../../src/cli/tables/json_lines.ts";

/** The text as a stream of chunks of `size` bytes. */
function stream(text: string, size = 7): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.subarray(at, at += size));
    },
  });
}

async function rows(text: string, size?: number): Promise<number[][]> {
  return await Array.fromAsync(readJsonLines(() => stream(text, size), "x.jsonl"));
}

Deno.test("Rows are read across chunks of any size", async () => {
  const text = '\ufeff[1, 2,3]\r\n\n  [ 4 ]\n[-5,1e2,"'.slice(0, -1) + "7]\n\t\n[]";
  for (let size = 1; size <= text.length + 5; size++) {
    assert.deepEqual(await rows(text, size), [[1, 2, 3], [4], [-5, 100, 7], []]);
  }
  assert.deepEqual(await rows(""), []);
  assert.deepEqual(await rows("\n\n"), []);
});

Deno.test("The place of the row at hand is known", async () => {
  const at = { row: -1, line: 0 };
  const places: number[][] = [];
  for await (const _ of readJsonLines(() => stream("\n[1]\n\n\n[2]\n[3]"), "x.jsonl", at)) {
    places.push([at.row, at.line]);
  }
  assert.deepEqual(places, [[0, 2], [1, 5], [2, 6]]);
});

async function assertRefused(line: string, column: number | undefined, found: RegExp) {
  await assert.rejects(rows(`[1]\n\n${line}\n[2]\n`), (error: unknown) => {
    assert.ok(error instanceof BuildInputError, String(error));
    assert.equal(error.code, "not-a-row");
    assert.equal(error.file, "x.jsonl");
    assert.equal(error.row, 1);
    assert.equal(error.column, column);
    assert.match(error.message, /^x\.jsonl, line 3: expected /);
    assert.match(error.message, found);
    return true;
  });
}

Deno.test("Lines that are no array of integers are refused with their place", async () => {
  await assertRefused("[1, 2.5]", 1, /found 2\.5 at position 1/);
  await assertRefused('["7"]', 0, /found the string "7" at position 0/);
  await assertRefused("[1, 2, null]", 2, /found null/);
  await assertRefused("[1, 1e400]", 1, /found Infinity/);
  await assertRefused("[[1, 2], [3, 4]]", 0, /found an array, \[1,2\] at position 0/);
  await assertRefused('{"sid": [1, 2]}', undefined, /found an object, \{"sid":\[1,2\]\}/);
  await assertRefused("12", undefined, /found 12/);
  await assertRefused("1 2 3", undefined, /found 1 2 3, which is no JSON/);
  await assertRefused("[1, 2, x]", 2, /which is no JSON at position 2/);
  await assertRefused("[1, NaN]", 1, /which is no JSON/);
  await assertRefused("[1, 2", 1, /which is no JSON/);
});

Deno.test("A line without an end is refused before it is read whole", async () => {
  let given = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      given += 2 ** 16;
      controller.enqueue(new Uint8Array(2 ** 16).fill(0x31));
    },
  });
  await assert.rejects(
    Array.fromAsync(readJsonLines(() => endless, "x.jsonl")),
    (error) => error instanceof BuildInputError && error.code === "line-too-long",
  );
  assert.ok(given < 2 ** 21);
});

Deno.test("A silent stream is left when the signal says so", async () => {
  let cancelled = false;
  const silent = new ReadableStream<Uint8Array>({ cancel: () => void (cancelled = true) });
  const abort = new AbortController();
  const reading = readJsonLines(() => silent, "-", undefined, abort.signal).next();
  await Promise.resolve();
  abort.abort(new Error("enough"));
  await assert.rejects(reading, /enough/);
  assert.ok(cancelled);
});

Deno.test("The stream is cancelled when the rows are not wanted any more", async () => {
  let cancelled = false;
  const lines = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("[1]\n")),
    cancel: () => void (cancelled = true),
  });
  for await (const _ of readJsonLines(() => lines, "x.jsonl")) break;
  assert.ok(cancelled);
});
