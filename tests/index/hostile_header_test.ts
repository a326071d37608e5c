/** Headers with anything in any place: refused with errors that say so, short, flat and printable. */

import assert from "node:assert/strict";
import {
  ConstraintIndex,
  type EspalierError,
  IndexFormatError,
  IndexIntegrityError,
  LimitError,
} from "../../mod.ts";
import { buildIndex } from "../../src/build/mod.ts";
import { checkMetadata, decodeShape } from "../../src/index/format/header.ts";
import { loadHeader } from "../../src/storage/load/load.ts";
import { damage, type Sample, samples, sealed, takeApart } from "../support/corrupt.ts";
import { answersOf } from "../support/filters_and_items.ts";
import { headerOf, HOSTILE_VALUES, hostileFile, nested } from "../support/hostile_headers.ts";
import { interrogate } from "../support/interrogate.ts";
import { runs } from "../support/long.ts";
import { Random } from "../support/models.ts";

/** Indexes with filters, items that share sequences, and a tokenizer. */
async function attachedSamples(): Promise<Sample[]> {
  const rows = [[1, 2], [0, 3], [1, 2], [1, 2], [2], [2, 1, 1], [2, 1, 0], [3]];
  const ids = [[70n, 80n, 71n, 72n, 5n, 6n, 7n, 2n ** 60n], [
    "a",
    "b",
    "c",
    "é",
    "d",
    "",
    "f",
    "日",
  ]];
  return await Promise.all(ids.map(async (items) => {
    using index = await buildIndex(rows, {
      vocabSize: 4,
      items: items as bigint[] | string[],
      filters: { fresh: [1, 0, 1, 0, 1, 0, 1, 0], old: [0, 0, 0, 0, 0, 1, 1, 1] },
      tokenizer: { name: "o200k" },
    });
    return { name: "items", ...takeApart(index.toBytes()) };
  }));
}

const SAMPLES = [...await samples(), ...await attachedSamples(), ...await attachedSamples()];

const UNPRINTABLE = /[\p{Cc}\u2028-\u202e\u2066-\u2069]/u;

function assertTyped(error: unknown, message: string): asserts error is EspalierError {
  const isTyped = error instanceof IndexFormatError || error instanceof IndexIntegrityError ||
    error instanceof LimitError;
  if (!isTyped) throw new Error(`${message}: an error without a type`, { cause: error });
  assert.match(error.code, /^[a-z-]+$/);
  assert.ok(!UNPRINTABLE.test(error.message), `${message}: ${JSON.stringify(error.message)}`);
  assert.ok(error.message.length < 1000, `${message}: ${error.message.length} characters`);
  for (const [fact, value] of Object.entries(error)) {
    assert.ok(typeof value !== "object" || value === null, `${message}: ${fact} is nested`);
    assert.ok(String(value).length <= 100, `${message}: ${fact} is long`);
  }
}

/** Opens a file and asks it everything; answers, or refuses with an error of a type. */
async function isOpened(
  bytes: Uint8Array<ArrayBuffer>,
  verify: boolean | undefined,
  seed: number,
  message: string,
): Promise<boolean> {
  try {
    using index = await ConstraintIndex.open(bytes, { verify });
    interrogate(index, seed);
    answersOf(index);
    return true;
  } catch (error) {
    assertTyped(error, message);
    return false;
  }
}

Deno.test("Whatever stands in whichever place of a header, the error has a type", async () => {
  const [sample] = await attachedSamples();
  const { header, shape } = headerOf(sample);
  const values = [...HOSTILE_VALUES, nested(100_000, true), nested(100_000, false)];
  const places = (value: unknown, path: (string | number)[] = []): (string | number)[][] =>
    typeof value !== "object" || value === null
      ? [path]
      : [path, ...Object.entries(value).flatMap(([key, part]) => places(part, [...path, key]))];
  const put = (whole: unknown, path: (string | number)[], text: string): string => {
    if (path.length === 0) return text;
    const copy = structuredClone(whole);
    const parent = path.slice(0, -1).reduce((at, key) => Reflect.get(at as object, key), copy);
    Reflect.set(parent as object, path.at(-1)!, "@here@");
    return JSON.stringify(copy).replace('"@here@"', () => text);
  };
  let refused = 0;
  for (const [i, value] of values.entries()) {
    // Those that are nested deeply are long as well.
    const isTaken = (_: unknown, at: number) => value.length < 1e5 || at % runs(9, 1) === 0;
    for (const path of places(header).filter(isTaken)) {
      const bytes = await sealed(put(header, path, value), sample.data);
      if (!await isOpened(bytes, false, i, `header/${path.join("/")} = ${value.slice(0, 99)}`)) {
        refused++;
      }
    }
    for (const path of places(shape).filter(isTaken)) {
      const metadata = { ...header.__metadata__ as object, index: put(shape, path, value) };
      const bytes = await sealed(
        JSON.stringify({ ...header, __metadata__: metadata }),
        sample.data,
      );
      if (!await isOpened(bytes, undefined, i, `${path.join("/")} = ${value.slice(0, 99)}`)) {
        refused++;
      }
    }
  }
  assert.ok(refused > 1000, `${refused} were refused`);
});

Deno.test("Facts of a refused header are short and flat, and its message has no control characters", async () => {
  const [sample] = SAMPLES;
  const { header } = headerOf(sample);
  const withMetadata = async (more: object): Promise<EspalierError> => {
    const metadata = { ...header.__metadata__ as object, ...more };
    const text = JSON.stringify({ ...header, __metadata__: metadata });
    const error = await ConstraintIndex.open(await sealed(text, sample.data)).catch((e) => e);
    assertTyped(error, text);
    return error;
  };
  const objects = await withMetadata({ version: { toString: 1, valueOf: 1 } });
  assert.deepEqual([objects.code, objects.actual], ["unknown-version", "an object"]);
  const lists = await withMetadata({ format: [[1], 2, 3] });
  assert.deepEqual([lists.code, lists.actual], ["not-an-index", "an array of 3"]);
  const codes = await withMetadata({ version: "\x1b]0;owned\x07\x1b[31mred\u202e" });
  assert.match(codes.message, /got \\u001b\]0;owned\\u0007\\u001b\[31mred\\u202e;/);
  const long = await withMetadata({ version: "9".repeat(5000) });
  assert.equal(long.actual, `${"9".repeat(99)}…`);
});

Deno.test("Headers changed at random are refused with a type, or bound what is read", async () => {
  const random = new Random(17);
  const found = { opened: 0, refused: 0 };
  for (let i = 0; i < runs(1000, 200_000); i++) {
    const sample = random.pick(SAMPLES);
    let bytes: Uint8Array<ArrayBuffer>;
    if (random.below(4)) {
      bytes = await hostileFile(sample, random);
    } else {
      // Bytes of the JSON text, which is then signed if it has a place for that.
      const start = sample.bytes.length - sample.data.length;
      const text = damage(sample.bytes.subarray(8, start), random);
      bytes = await sealed(new TextDecoder("latin1").decode(text), sample.data);
    }
    const verify = random.pick([undefined, true, false]);
    const message = `Header ${i} of ${sample.name}`;
    if (await isOpened(bytes, verify, i, message)) found.opened++;
    else found.refused++;
    // As "inspect" reads it.
    try {
      decodeShape((await loadHeader(bytes, { checkMetadata })).header);
    } catch (error) {
      assertTyped(error, message);
    }
  }
  assert.ok(found.opened > 20 && found.refused > found.opened, JSON.stringify(found));
});
