/** `cli query`, and the counts that it shows. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { QUERY_HELP } from "../../../src/cli/commands/query.ts";
import { branchesOf, type OrdinalRange, ordinalsBelow } from "../../../src/index/descendants.ts";
import { countOnes } from "../../../src/index/bits/bit_vector.ts";
import { buildIndex, type BuildOptions } from "../../../src/build/mod.ts";
import { ConstraintIndex } from "../../../src/index/constraint_index.ts";
import { cli, Folder } from "../../support/cli.ts";
import { buildAs, STORINGS } from "../../support/encodings.ts";
import { helpExamples } from "../../support/examples.ts";
import { runs } from "../../support/long.ts";
import { OracleSet, prefixOf } from "../../support/oracle.ts";
import { rowSets } from "../../support/sets.ts";

const numbers = (ranges: readonly OrdinalRange[]) =>
  ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));

/** Holds the ranges below every prefix, or some of them, against a look at every sequence. */
function assertBelow(index: ConstraintIndex, set: OracleSet): void {
  const nodes = [set.root, ...set.levels.flat()];
  const stride = Math.ceil(nodes.length / 100);
  const begins = (sequence: readonly number[], prefix: readonly number[]) =>
    prefix.every((token, i) => sequence[i] === token);
  for (let n = 0; n < nodes.length; n += stride) {
    const prefix = prefixOf(nodes[n]);
    const below = set.sequences.flatMap((sequence, i) => begins(sequence, prefix) ? [i] : []);
    const ranges = ordinalsBelow(index, prefix);
    assert.deepEqual(numbers(ranges), below);
    for (const { length, start, end } of ranges) {
      assert.ok(start < end);
      assert.ok(numbers([{ length, start, end }]).every((i) => set.sequences[i].length === length));
    }
    const expected = [...nodes[n].children.values()].map((child) => ({
      token: child.token,
      ordinal: child.ordinal,
      below: below.filter((i) => set.sequences[i][prefix.length] === child.token),
    }));
    const found = branchesOf(index, prefix).map((branch) => ({
      ...branch,
      below: numbers(branch.below),
    }));
    assert.deepEqual(found, expected, `Behind ${prefix}`);
  }
}

Deno.test("Below a prefix lies what begins with it, whatever the set", async () => {
  await fc.assert(
    fc.asyncProperty(rowSets(), async ({ rows, vocabSize }) => {
      using index = await buildIndex(rows, { vocabSize });
      assertBelow(index, new OracleSet(rows, vocabSize));
    }),
    { seed: 1, numRuns: runs(60) },
  );
});

Deno.test("Below a prefix lies what begins with it, however levels are stored", async () => {
  const storings = fc.array(fc.constantFrom(...STORINGS), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(rowSets(["mixed", "boundary", "window"]), storings, async (rowSet, ways) => {
      const set = new OracleSet(rowSet.rows, rowSet.vocabSize);
      using index = await buildAs(set.sequences, rowSet.vocabSize, ...ways);
      assertBelow(index, set);
    }),
    { seed: 1, numRuns: runs(60) },
  );
});

Deno.test("Nothing lies below what is no prefix", async () => {
  using index = await buildIndex([[1, 2], [1, 3, 0], [1]], { vocabSize: 4 });
  for (
    const prefix of [[0], [2], [1, 1], [1, 2, 0], [1, 3, 0, 0], [-1], [1.5], [4], [2 ** 32 + 1]]
  ) {
    assert.deepEqual([branchesOf(index, prefix), ordinalsBelow(index, prefix)], [[], []]);
  }
  assert.deepEqual(branchesOf(index, [1, 2]), []);
  assert.deepEqual(numbers(ordinalsBelow(index, [1])), [0, 1, 2]);
});

Deno.test("Ones are counted between any two bits", () => {
  const words = Uint32Array.of(0x80000001, 0xffffffff, 0, 0xa5a5a5a5, 0x7fffffff);
  const bit = (i: number) => words[i >> 5] >>> (i & 31) & 1;
  for (let from = 0; from <= 160; from++) {
    let ones = 0;
    for (let to = from; to <= 160; to++) {
      assert.equal(countOnes(words, from, to), ones, `${from} to ${to}`);
      if (to < 160) ones += bit(to);
    }
  }
});

Deno.test("query says what the set says, filtered or not", async () => {
  await using folder = await Folder.create();
  const flags = fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 7 });
  await fc.assert(
    fc.asyncProperty(
      rowSets(["fixed", "mixed", "window"]),
      fc.array(flags, { maxLength: 2 }),
      fc.nat(),
      fc.constantFrom("count", "token"),
      async ({ rows, vocabSize }, filters, pick, sort) => {
        const set = new OracleSet(rows, vocabSize);
        const named = filters.map((flags, i) =>
          [`f${i}`, set.sequences.map((_, k) => flags[k % flags.length])] as const
        );
        using index = await buildIndex(set.sequences, {
          vocabSize,
          filters: Object.fromEntries(named),
          items: set.sequences.map((_, i) => 7 * i),
        });
        const file = await folder.write("x.st", index.toBytes());
        const nodes = [set.root, ...set.levels.flat()];
        const node = nodes[pick % nodes.length];
        const prefix = prefixOf(node);
        const isAllowed = (i: number) => named.every(([, flags]) => flags[i] === 1);
        const below = (prefix: number[]) =>
          set.sequences.flatMap((sequence, i) =>
            isAllowed(i) && prefix.every((token, k) => sequence[k] === token) ? [i] : []
          );
        const all = [...node.children.values()].map(({ token, ordinal }) => ({
          token,
          sequences: below([...prefix, token]).length,
          ...(ordinal !== undefined && isAllowed(ordinal) && { ordinal, items: [7 * ordinal] }),
        })).filter(({ sequences }) => sequences > 0);
        if (sort === "count") all.sort((a, b) => b.sequences - a.sequences || a.token - b.token);
        const args = [
          "query",
          file,
          prefix.join(),
          ...named.flatMap(([name]) => ["--filter", name]),
        ];
        const { code, out, err } = await cli([...args, "--json", "--limit", "5", "--sort", sort]);
        assert.deepEqual([code, err], [0, ""]);
        const { ordinal } = node;
        assert.deepEqual(JSON.parse(out), {
          file,
          prefix,
          ...(named.length > 0 && { filters: named.map(([name]) => name) }),
          sequences: below(prefix).length,
          canEnd: ordinal !== undefined && isAllowed(ordinal),
          ...(ordinal !== undefined && { ordinal }),
          ...(ordinal !== undefined && isAllowed(ordinal) && { items: [7 * ordinal] }),
          tokens: all.length,
          next: all.slice(0, 5),
        });
        const listed = await cli([...args, "--json", "--limit", "0", "--sequences"]);
        const lines = listed.out.split("\n").filter(Boolean).map((line) => JSON.parse(line));
        const expected = below(prefix)
          .map((i) => ({ ordinal: i, sequence: set.sequences[i], items: [7 * i] }));
        assert.deepEqual(lines, expected);
        assert.equal((await cli(args)).code, 0);
      },
    ),
    { seed: 1, numRuns: runs(40) },
  );
});

const ROWS = [[3, 1, 4], [3, 1, 5], [3, 1], [9, 2, 6], [3, 1]];
const OPTIONS: BuildOptions = {
  vocabSize: 16,
  items: [2n ** 63n, 11, 12, 13, 14],
  filters: { "in stock": [1, 1, 0, 0, 0], fresh: [1, 0, 0, 1, 0] },
};

async function withIndex(use: (file: string, folder: Folder) => Promise<void>): Promise<void> {
  await using folder = await Folder.create();
  using index = await buildIndex(ROWS, OPTIONS);
  await use(await folder.write("catalogue.safetensors", index.toBytes()), folder);
}

/** Output without the name of the file. */
async function shown(args: string[]): Promise<string> {
  const { code, out, err } = await cli(["query", ...args]);
  assert.deepEqual([code, err], [0, ""]);
  return out.replace(args[0], "FILE");
}

Deno.test("query shows tokens, counts, ordinals and ids", async () => {
  await withIndex(async (file) => {
    assert.equal(
      await shown([file]),
      `FILE
  prefix     none
  sequences  4
  may end    no

  token  sequences  percent
      3          3     75.0
      9          1     25.0
`,
    );
    assert.equal(
      await shown([file, "[3, 1]"]),
      `FILE
  prefix     3 1
  sequences  3
  may end    yes: ordinal 0
  item ids   12, 14

  token  sequences  percent  ordinal             item ids
      4          1     33.3        1  9223372036854775808
      5          1     33.3        2                   11
`,
    );
    assert.equal(
      await shown([file, "3,1", "--filter", "in stock", "--filter", "fresh"]),
      `FILE
  prefix     3 1
  filters    in stock and fresh
  sequences  1
  may end    no, not allowed: ordinal 0

  token  sequences  percent  ordinal             item ids
      4          1    100.0        1  9223372036854775808
`,
    );
    assert.match(await shown([file, "--limit", "1"]), /\n {2}… and 1 more; --limit 0 shows all\n/);
  });
});

Deno.test("query says why nothing lies below a prefix", async () => {
  await withIndex(async (file) => {
    const reason = async (...args: string[]) =>
      / sequences +(.*)\n/.exec(await shown([file, ...args]))![1];
    assert.equal(await reason("3,2,7"), "0; no sequence begins so, but some with 3");
    assert.equal(await reason("0"), "0; no sequence begins so");
    assert.equal(await reason("999999999"), "0; no sequence begins so");
    assert.equal(await reason("9", "--filter", "in stock"), "0; the filter allows none of 1");
    const both = ["--filter", "in stock", "--filter", "fresh"];
    assert.equal(await reason("9", ...both), "0; the filters allow none of 1");
  });
});

Deno.test("query lists sequences", async () => {
  await withIndex(async (file) => {
    assert.equal(
      await shown([file, "3", "--sequences", "--limit", "2"]),
      `ordinal  sequence  item ids
      0  3 1  12, 14
      1  3 1 4  9223372036854775808
… and 1 more; --limit 0 lists all
`,
    );
    assert.equal(await shown([file, "8", "--sequences"]), "");
    const json = await shown([file, "3,1,4", "--sequences", "--json"]);
    assert.equal(json, '{"ordinal":1,"sequence":[3,1,4],"items":[9223372036854775808]}\n');
  });
});

/** Words of which the canonical tokens are no prefixes of each other, though the words are. */
const WORDS = [
  "react",
  "react-dom",
  "reactive",
  "redux",
  "preact",
  "\u00e9t\u00e9",
  "\u00e9tage",
  "\u6771\u4eac",
];

Deno.test("query finds what begins with a text, whichever tokens spell it", async () => {
  await using folder = await Folder.create();
  const beginnings = new Set(
    WORDS.flatMap((word) => [...word].map((_, i) => word.slice(0, i + 1))),
  );
  for (const tokenizer of ["o200k", "bytes", "bytes+3"]) {
    const file = folder.at(`${tokenizer}.st`);
    const flags = ["--tokenizer", tokenizer, "--ids"];
    const built = await cli(["build", "-", "-o", file, ...flags], { stdin: WORDS.join("\n") });
    assert.equal(built.err, "");
    using index = await ConstraintIndex.open(await Deno.readFile(file));
    for (const text of ["", ...beginnings, "rex", "R"]) {
      const args = ["query", file, text, "--text", "--json", "--limit", "0"];
      const found = JSON.parse((await cli(args)).out);
      const words = WORDS.filter((word) => word.startsWith(text));
      assert.deepEqual([found.text, found.sequences], [text, words.length]);
      assert.equal(found.canEnd, WORDS.includes(text));
      if (found.canEnd) assert.deepEqual(found.items, [text]);
      const further = words.filter((word) => word !== text);
      let count = 0;
      for (const { tokens, text: longer, sequences, ordinal } of found.next) {
        assert.ok(longer.startsWith(text) && longer !== text);
        assert.ok(index.allowedTokens(tokens).length > 0 || index.has(tokens));
        // What ends within a character spells more than one.
        const begun = longer.replace(/\ufffd+$/, "");
        assert.ok(further.filter((word) => word.startsWith(begun)).length >= sequences);
        if (ordinal !== undefined) assert.deepEqual(index.itemsAt(ordinal), [longer]);
        count += sequences;
      }
      assert.equal(count, further.length);
      const lines = (await cli([...args, "--sequences"])).out.split("\n").filter(Boolean)
        .map((line) => JSON.parse(line));
      assert.deepEqual(lines.map((line) => line.text).toSorted(), words.toSorted());
      const ordinals = lines.map(({ ordinal }) => ordinal);
      assert.deepEqual(ordinals, ordinals.toSorted((a, b) => a - b));
    }
    const { out } = await cli(["query", file, "reax", "--text"]);
    assert.match(out, / sequences +0; no sequence begins so, but some with "rea"\n/);
  }
  const file = folder.at("o200k.st");
  assert.equal(
    (await cli(["query", file, "reac", "--text"])).out.replace(file, "FILE"),
    `FILE
  prefix     "reac"
  sequences  3
  may end    no

     text  tokens  sequences  percent  ordinal  item ids
  "react"    4637          3    100.0        0   "react"
`,
  );
});

Deno.test("query reads from a server", async () => {
  using index = await buildIndex(ROWS, OPTIONS);
  const bytes = index.toBytes();
  const options = { port: 0, hostname: "127.0.0.1", onListen() {} };
  await using server = Deno.serve(options, () => new Response(bytes));
  const url = `http://127.0.0.1:${server.addr.port}/x.st`;
  const { out } = await cli(["query", `${url}?signature=secret`, "9", "--json"]);
  const { file, sequences } = JSON.parse(out);
  assert.deepEqual([file, sequences], [url, 1]);
});

Deno.test("query names what it cannot find", async () => {
  await withIndex(async (file, folder) => {
    const { code, err } = await cli(["query", file, "--filter", "stock", "--json"]);
    const { error } = JSON.parse(err);
    assert.deepEqual([code, error.code, error.file], [1, "unknown-filter", file]);
    assert.deepEqual(error.expected, ["in stock", "fresh"]);
    const missing = await cli(["query", folder.at("y.st"), "--json"]);
    assert.deepEqual([missing.code, JSON.parse(missing.err).error.code], [1, "not-found"]);
  });
});

Deno.test("query stops when it is interrupted", async () => {
  await withIndex(async (file) => {
    const args = ["query", file, "--sequences"];
    const { code, out } = await cli(args, { signal: AbortSignal.abort() });
    assert.deepEqual([code, out], [130, ""]);
  });
});

Deno.test("Wrong usage of query", async () => {
  const wrong: [string[], RegExp][] = [
    [[], /Expected FILE or URL, found none/],
    [["a", "1", "2"], /Expected FILE or URL and one PREFIX, such as 3,1,4, found 3 arguments/],
    [["a", "1;2"], /Expected PREFIX as 3,1,4 or \[3,1,4\], found "1;2"/],
    [["a", "1,,2"], /Expected PREFIX/],
    [["a", "[1,2"], /Expected PREFIX/],
    [["a", "--limit", "many"], /Expected --limit N, 0 for all, found "many"/],
    [["a", "--sort", "size"], /Expected --sort count or token, found "size"/],
    [["a", "--sort", "token", "--sequences"], /Expected --sort, or --sequences or --item/],
    [["a", "--region", "x"], /Expected s3:.* with --region/],
  ];
  for (const [args, message] of wrong) {
    const { code, out, err } = await cli(["query", ...args]);
    assert.deepEqual([code, out], [2, ""], `${args.join(" ")}: ${err}`);
    assert.match(err, message);
    assert.match(err, /\n {2}try: deno task cli help query\n$/);
  }
});

Deno.test("The examples in the help of query run", async () => {
  await withIndex(async (file) => {
    await using folder = await Folder.create();
    using names = await buildIndex([Array.from("react", (letter) => letter.charCodeAt(0))], {
      vocabSize: 256,
      tokenizer: { name: "bytes" },
    });
    const places = {
      "catalogue.safetensors": file,
      "s3://indexes/catalogue.safetensors": file,
      "names.safetensors": await folder.write("names.safetensors", names.toBytes()),
    };
    for (const args of helpExamples(QUERY_HELP, places)) {
      const { code, out, err } = await cli(args);
      assert.deepEqual([code, err], [0, ""], args.join(" "));
      assert.ok(out.length > 0);
    }
  });
});
