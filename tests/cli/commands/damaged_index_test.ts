/** Commands on files whose digests are right and whose content is not, and on names that a terminal would obey. */

import assert from "node:assert/strict";
import { ConstraintIndex, createDecoder, itemsOf } from "../../../mod.ts";
import { buildIndex } from "../../../src/build/mod.ts";
import { branchesOf, type OrdinalRange, ordinalsBelow } from "../../../src/index/descendants.ts";
import { planData } from "../../../src/index/format/header.ts";
import { SequenceCursor } from "../../../src/index/sequence_cursor.ts";
import { cli, Folder } from "../../support/cli.ts";
import { damage, samples, sealed, signed, takeApart } from "../../support/corrupt.ts";
import { headerOf } from "../../support/hostile_headers.ts";
import { interrogate } from "../../support/interrogate.ts";
import { runs } from "../../support/long.ts";
import { modelOf, Random, RULES } from "../../support/models.ts";
import { randomData, randomShape } from "../../support/shapes.ts";

const ROWS = [[1, 2], [0, 3], [1, 2], [1, 2], [2], [2, 1, 1], [2, 1, 0], [3]];
const UNPRINTABLE = /[^\P{Cc}\n]|[\u2028-\u202e\u2066-\u2069]/u;

/** A small index with items, of which some share a sequence, and filters. */
async function attached(items: bigint[] | string[], filter = "fresh") {
  using index = await buildIndex(ROWS, {
    vocabSize: 4,
    items,
    filters: { [filter]: [1, 0, 1, 0, 1, 0, 1, 0], old: [0, 0, 0, 0, 0, 1, 1, 1] },
  });
  return { name: "items", ...takeApart(index.toBytes()) };
}

const IDS = [70n, 80n, 71n, 72n, 5n, 6n, 7n, 2n ** 60n];
const SAMPLES = [
  ...await samples(),
  await attached(IDS),
  await attached(["a", "b", "c", "é", "d", "", "f", "日本"]),
];

/** A file that digests vouch for: damaged data, or data for a shape that no builder makes. */
async function damagedFile(random: Random) {
  const sample = random.pick(SAMPLES);
  if (random.below(3) > 0) {
    return { sample, bytes: await signed(sample.shape, damage(sample.data, random, true)) };
  }
  const shape = randomShape(random);
  return { sample, bytes: await signed(shape, randomData(planData(shape).byteLength, random)) };
}

Deno.test("Whatever is wrong behind right digests, every way to read answers within bounds", async () => {
  const random = new Random(18);
  for (let i = 0; i < runs(400, 20_000); i++) {
    const { bytes } = await damagedFile(random);
    using index = await ConstraintIndex.open(bytes);
    const { size, levels } = index;
    interrogate(index, i);
    const assertRanges = (ranges: readonly OrdinalRange[]) => {
      for (const { start, end } of ranges) assert.ok(start >= 0 && start < end && end <= size);
    };
    const prefix: number[] = [];
    while (prefix.length < levels.length) {
      assertRanges(ordinalsBelow(index, prefix));
      const branches = branchesOf(index, prefix);
      for (const { below, ordinal } of branches) {
        assertRanges(below);
        assert.ok(ordinal === undefined || ordinal < size);
      }
      if (branches.length === 0) break;
      prefix.push(random.pick(branches).token);
    }
    let count = 0;
    for (const cursor = new SequenceCursor(index); cursor.next(); count++) cursor.sequence();
    assert.equal(count, size);
    using even = index.filter(Array.from({ length: Math.ceil(size / 2) }, (_, n) => 2 * n));
    using odd = even.not();
    using all = even.or(odd);
    using named = index.filterNames.length > 0
      ? index.filter({ any: [...index.filterNames, { not: index.filterNames[0] }] })
      : undefined;
    using decoder = await createDecoder(index, { backend: "wasm" });
    for (const filter of [even, odd, all, ...(named ? [named] : [])]) {
      const result = await decoder.beamSearch(modelOf(RULES.smooth, i), {
        beamSize: 3,
        filter,
        exclude: [[0, size - 1]],
      });
      assert.ok(result.ordinals.subarray(0, result.counts[0]).every((ordinal) => ordinal < size));
      for (const row of index.items ? itemsOf(index, result) : []) row.toString();
      assert.ok(filter.size <= size);
      index.allowedTokens(prefix.slice(0, 1), filter);
      for (let ordinal = 0; index.items && ordinal < size; ordinal++) {
        assert.ok(index.itemsAt(ordinal, Infinity, filter).length <= index.items.count);
      }
    }
  }
});

Deno.test("Commands answer from damaged files, or say what is wrong with them", async () => {
  await using folder = await Folder.create();
  const random = new Random(19);
  for (let i = 0; i < runs(60, 3000); i++) {
    const { sample, bytes } = await damagedFile(random);
    const file = await folder.write("damaged.safetensors", bytes);
    const sound = await folder.write("sound.safetensors", sample.bytes);
    const prefix = random.pick(["", "0", "1", "2", "1,2", "2,1"]);
    const commands = [
      ["query", file, prefix],
      ["query", file, prefix, "--sequences"],
      ["diff", file, sound],
      ["diff", sound, file, "--json"],
      ["inspect", file],
      ["verify", file],
      ...(sample.shape.filters ? [["query", file, prefix, "--filter", "fresh"]] : []),
    ];
    for (const args of commands) {
      const { out, err } = await cli(args);
      // What is not an error of a type is shown with its trace.
      assert.ok(!err.includes("\n    at ") && !err.includes('"unexpected"'), `${args}: ${err}`);
      assert.ok(!/undefined|NaN|Infinity/.test(out), `${args}: ${out}`);
      assert.ok(!UNPRINTABLE.test(out + err), `${args}: ${JSON.stringify(out + err)}`);
    }
  }
});

Deno.test("Nothing from a file reaches the terminal as a command to it", async () => {
  await using folder = await Folder.create();
  const turned = "fresh\u202e\u2067\u2028";
  const items = [...IDS.keys()].map((i) => `\x1b[31m${i}\x9b\x07\x7f`);
  const sample = await attached(items, turned);
  const file = await folder.write("names.safetensors", sample.bytes);
  const other = await folder.write("other.safetensors", (await attached(IDS)).bytes);
  const { header } = headerOf(sample);
  const metadata = header.__metadata__ as Record<string, string>;
  const changed = async (name: string, more: object, tensors: object = {}) =>
    await folder.write(
      name,
      await sealed(
        JSON.stringify({ ...header, __metadata__: { ...metadata, ...more }, ...tensors }),
        sample.data,
      ),
    );
  const codes = "\x1b]0;owned\x07\x1b[31mred\nerror: forged\u202e";
  const files = [
    file,
    await changed("version", { version: codes }),
    await changed("format", { format: codes }),
    await changed("index", { index: codes }),
    await changed("key", { [codes]: 1 }),
    await changed("requires", {
      version: "2",
      index: JSON.stringify({ ...JSON.parse(metadata.index), requires: [codes] }),
    }),
    await changed("section", {}, { [codes]: { dtype: "F32" } }),
  ];
  for (const path of files) {
    for (const isJson of [false, true]) {
      for (
        const args of [
          ["inspect", path],
          ["query", path, "1,2"],
          ["query", path, "--sequences"],
          ["query", path, "--filter", turned],
          ["query", path, "--filter", codes],
          ["diff", path, other],
          ["diff", other, path],
          ["verify", path],
        ]
      ) {
        const { out, err } = await cli(isJson ? [...args, "--json"] : args);
        const shown = out + err;
        assert.ok(shown !== "" && !UNPRINTABLE.test(shown), `${args}: ${JSON.stringify(shown)}`);
        assert.ok(!/^error: forged/m.test(shown), shown);
        if (isJson) {
          for (const line of shown.trimEnd().split("\n")) JSON.parse(line);
        }
      }
    }
  }
  // As JSON it is the same name.
  const { out } = await cli(["inspect", file, "--json"]);
  assert.equal(JSON.parse(out).filters[0].name, turned);
});
