/** `cli diff`. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { DIFF_HELP } from "../../../src/cli/commands/diff.ts";
import { buildIndex, type BuildOptions } from "../../../src/build/mod.ts";
import { cli, Folder } from "../../support/cli.ts";
import { helpExamples } from "../../support/examples.ts";
import { runs } from "../../support/long.ts";
import { compareRows } from "../../support/oracle.ts";
import { rowSets } from "../../support/sets.ts";

async function bytesOf(
  rows: readonly number[][],
  vocabSize: number,
  options: Omit<BuildOptions, "vocabSize"> = {},
): Promise<Uint8Array> {
  using index = await buildIndex(rows, { vocabSize, ...options });
  return index.toBytes();
}

/** One side of a comparison, as slow and obvious sets; every row has an id and a flag. */
function describe(rows: readonly number[][], ids: readonly number[], flags: readonly number[]) {
  const items = new Map<string, Set<number>>();
  const shown = new Map<string, Set<number>>();
  rows.forEach((row, i) => {
    const key = row.join();
    items.set(key, (items.get(key) ?? new Set()).add(ids[i]));
    if (flags[i]) shown.set(key, (shown.get(key) ?? new Set()).add(ids[i]));
  });
  return { items, shown, allowed: new Set(shown.keys()) };
}

type Side = ReturnType<typeof describe>;

const minus = <T>(a: Iterable<T>, b: Iterable<T>): T[] => [...new Set(a).difference(new Set(b))];

/** What `diff --json` has to say, but for the names of the files; lists of ids sorted. */
function expected(before: Side, after: Side, hasExtras: boolean) {
  const keys = [...new Set([...before.items.keys(), ...after.items.keys()])]
    .map((key) => key.split(",").map(Number))
    .sort((a, b) => a.length - b.length || compareRows(a, b));
  const ordinals = (side: Side) => {
    const own = keys.map((key) => key.join()).filter((key) => side.items.has(key));
    return new Map(own.map((key, i) => [key, i]));
  };
  const [old, now] = [ordinals(before), ordinals(after)];
  const sorted = (ids: Iterable<number>) => [...ids].sort((a, b) => a - b);
  const lines: unknown[] = [];
  let [common, removed, added, itemsChanged] = [0, 0, 0, 0];
  for (const sequence of keys) {
    const key = sequence.join();
    const [was, is] = [before.items.get(key), after.items.get(key)];
    if (was && is) {
      common++;
      const change = { removed: sorted(minus(was, is)), added: sorted(minus(is, was)) };
      if (!hasExtras || change.removed.length + change.added.length === 0) continue;
      itemsChanged++;
      lines.push({ change: "items", sequence, ...change });
    } else {
      if (was) removed++;
      else added++;
      const ordinal = (was ? old : now).get(key);
      const items = hasExtras ? { items: sorted(was ?? is!) } : {};
      lines.push({ change: was ? "removed" : "added", sequence, ordinal, ...items });
    }
  }
  const changed = {
    name: "shown",
    removed: minus(before.allowed, after.allowed).length,
    added: minus(after.allowed, before.allowed).length,
    itemsChanged: [...before.allowed].filter((key) => {
      const [was, is] = [before.shown.get(key)!, after.shown.get(key)];
      const isInBoth = (id: number) =>
        before.items.get(key)!.has(id) && after.items.get(key)!.has(id);
      return is && [...was.symmetricDifference(is)].some(isInBoth);
    }).length,
  };
  const isChanged = hasExtras && changed.removed + changed.added + changed.itemsChanged > 0;
  const summary = {
    same: lines.length === 0 && !isChanged,
    common,
    removed,
    added,
    itemsChanged: hasExtras ? itemsChanged : null,
    filters: { removed: [], added: [], changed: isChanged ? [changed] : [] },
  };
  return [...lines, { summary }];
}

/** Lines of JSON, with lists of ids sorted and without the names of the files. */
function parsed(out: string): unknown[] {
  return out.split("\n").filter(Boolean).map((line) => {
    const value = JSON.parse(line);
    for (const list of [value.items, value.removed, value.added]) {
      list?.sort((a: number, b: number) => a - b);
    }
    if (value.summary) {
      delete value.summary.old;
      delete value.summary.new;
    }
    return value;
  });
}

Deno.test("diff tells what two sets do not have in common", async () => {
  await using folder = await Folder.create();
  const kinds = rowSets(["fixed", "mixed", "window", "tails", "dense"]);
  await fc.assert(
    fc.asyncProperty(
      kinds,
      kinds,
      fc.boolean(),
      fc.boolean(),
      fc.integer({ min: 2, max: 9 }),
      async (first, other, isRelated, hasExtras, stride) => {
        // Mostly the same, with other rows, ids and flags here and there.
        const second = isRelated
          ? [...first.rows.filter((_, i) => i % stride > 0), ...other.rows.slice(0, 2)]
          : other.rows;
        const rows = [first.rows, second.length > 0 ? second : other.rows];
        const vocabSize = Math.max(first.vocabSize, other.vocabSize);
        const sides = [];
        for (const [i, side] of rows.entries()) {
          const ids = side.map((row) => row[0] * 3 + (row.length + i * row[0]) % 4);
          const flags = side.map((row) => Number((row[0] + i * row.length) % 3 > 0));
          sides.push(describe(side, ids, flags));
          const extras = hasExtras ? { items: ids, filters: { shown: flags } } : {};
          await folder.write(`${i}.st`, await bytesOf(side, vocabSize + i, extras));
        }
        const args = ["diff", folder.at("0.st"), folder.at("1.st")];
        const { code, out, err } = await cli([...args, "--json"]);
        assert.equal(err, "");
        const want = expected(sides[0], sides[1], hasExtras);
        assert.deepEqual(parsed(out), want);
        const isSame = Reflect.get(want.at(-1)!, "summary").same;
        assert.equal(code, isSame ? 0 : 1);
        const text = await cli(args);
        assert.equal(text.code, code);
        assert.equal(text.out.match(/^[-+~] /gm)?.length ?? 0, want.length - 1);
        const summary = await cli([...args, "--summary", "--json"]);
        assert.deepEqual(parsed(summary.out), want.slice(-1));
        const limited = await cli([...args, "--limit", "1", "--json"]);
        assert.deepEqual(parsed(limited.out), [...want.slice(0, -1).slice(0, 1), want.at(-1)]);
        const same = await cli(["diff", args[1], args[1], "--summary"]);
        assert.equal(same.code, 0);
      },
    ),
    { seed: 1, numRuns: runs(60) },
  );
});

const OLD = [[3, 1, 4], [3, 1, 5], [9, 2, 6], [9]];
const NEW = [[3, 1, 4], [3, 1, 6], [9, 2, 6], [9]];

async function withIndexes(
  before: Omit<BuildOptions, "vocabSize">,
  after: Omit<BuildOptions, "vocabSize">,
  use: (old: string, now: string) => Promise<void>,
): Promise<void> {
  await using folder = await Folder.create();
  const old = await folder.write("old.safetensors", await bytesOf(OLD, 16, before));
  await use(old, await folder.write("new.safetensors", await bytesOf(NEW, 20, after)));
}

/** The output without the names of the files. */
async function shown(old: string, now: string, ...args: string[]): Promise<[number, string]> {
  const { code, out, err } = await cli(["diff", old, now, ...args]);
  assert.equal(err, "");
  return [code, out.replaceAll(old, "OLD").replaceAll(now, "NEW")];
}

Deno.test("diff shows sequences, ids, filters and vocabularies", async () => {
  const before = {
    items: [1, 2, 3, 4],
    filters: { a: [1, 1, 0, 0], b: [1, 1, 1, 1], d: [1, 0, 0, 0] },
  };
  const after = {
    items: [1, 2, 3, 5],
    filters: { a: [1, 1, 0, 0], c: [1, 0, 0, 0], d: [1, 0, 0, 0] },
  };
  await withIndexes(before, after, async (old, now) => {
    const summary = `  old         OLD: 4 sequences
  new         NEW: 4 sequences
  verdict     different
  sequences   -1 +1, 3 in both
  item ids    differ for 1 of those
  filter      b: only in the old index
  filter      c: only in the new index
  filter      a: -1 +1 sequences allowed
  vocabulary  16 and 20, which makes no difference
`;
    assert.deepEqual(await shown(old, now), [
      1,
      `~ 9  -4, +5
- 3 1 5  2
+ 3 1 6  2
${summary}`,
    ]);
    assert.deepEqual(await shown(old, now, "--summary"), [1, summary]);
    const [code, out] = await shown(old, old);
    assert.equal(code, 0);
    assert.match(
      out,
      /^ {2}old .*\n {2}new .*\n {2}verdict +same\n {2}sequences +-0 \+0, 4 in both\n/,
    );
  });
});

Deno.test("diff counts ids that only one index has, and ids of another type", async () => {
  const same = OLD.map((_, i) => i);
  await using folder = await Folder.create();
  const plain = await folder.write("a", await bytesOf(OLD, 16));
  const integers = await folder.write("b", await bytesOf(OLD, 16, { items: same }));
  const strings = await folder.write("c", await bytesOf(OLD, 16, { items: same.map(String) }));
  const [code, out] = await shown(plain, integers);
  assert.equal(code, 1);
  assert.match(out, / item ids +none in the old index, integers in the new one\n/);
  assert.ok(!/^[-+~]/m.test(out));
  const [otherCode, changes] = await shown(integers, strings);
  assert.equal(otherCode, 1);
  assert.match(changes, /^~ 9 {2}-3, \+"3"\n/);
  assert.match(changes, / item ids +integers in the old index, strings in the new one\n/);
});

Deno.test("diff shows texts, and says that tokenizers differ", async () => {
  await using folder = await Folder.create();
  const build = async (name: string, tokenizer: string, ...words: string[]) => {
    const args = ["build", "-", "-o", folder.at(name), "--tokenizer", tokenizer];
    assert.equal((await cli(args, { stdin: words.join("\n") })).err, "");
    return folder.at(name);
  };
  const old = await build("old", "bytes", "ab", "abc");
  const now = await build("new", "bytes", "ab", "abd");
  const [, out] = await shown(old, now, "--text");
  assert.match(out, /^- 97 98 99 {2}"abc"\n\+ 97 98 100 {2}"abd"\n/);
  assert.ok(!out.includes("tokenizer"));
  const [, json] = await shown(old, now, "--text", "--json");
  const texts = json.split("\n").filter(Boolean).map((line) => JSON.parse(line).text);
  assert.deepEqual(texts, ["abc", "abd", undefined]);
  const other = await build("other", "bytes+3", "ab", "abc");
  const [code, both] = await shown(old, other, "--text");
  assert.equal(code, 1);
  assert.match(both, /^- 97 98 {2}"ab"\n\+ 100 101 {2}"ab"\n/);
  assert.match(
    both,
    /\n {2}tokenizer +bytes and bytes\+3: equal tokens may mean different texts\n/,
  );
  const plain = await folder.write("plain", await bytesOf(OLD, 16));
  const { code: wrong, err } = await cli(["diff", plain, now, "--text"]);
  assert.deepEqual([wrong, /Expected an index of strings/.test(err)], [2, true]);
  const guess = ["--text", "--tokenizer", "bytes+10"];
  const unknown = [["diff", plain, other, "--json"], ["query", plain, "a", "--json"]];
  for (const args of unknown) {
    const { error } = JSON.parse((await cli([...args, ...guess])).err);
    assert.equal(error.code, "wrong-tokenizer");
  }
});

Deno.test("diff says how many differences it leaves out, and that ids are the same", async () => {
  await using folder = await Folder.create();
  const items = OLD.map((_, i) => i);
  const old = await folder.write("a", await bytesOf(OLD, 16, { items }));
  const now = await folder.write("b", await bytesOf([[1, 1], [1, 2], [1, 3]], 16));
  const differences = (await shown(old, now))[1].split("\n").filter((line) => /^[-+]/.test(line));
  const [, limited] = await shown(old, now, "--limit", "1");
  const hidden = differences.length - 1;
  assert.ok(limited.includes(`${differences[0]}\n… and ${hidden} more; --limit 0 lists all\n`));
  for (const flags of [["--summary"], ["--limit", String(differences.length)]]) {
    assert.doesNotMatch((await shown(old, now, ...flags))[1], /more;/);
  }
  assert.match((await shown(old, old))[1], / item ids +the same for all of those\n/);
});

Deno.test("diff exits with 2 where it cannot compare", async () => {
  await withIndexes({}, {}, async (old) => {
    const missing = `${old}.not`;
    const wrong: [string[], RegExp][] = [
      [[old], /Expected OLD and NEW, found 1 argument\n {2}try: deno task cli help diff\n/],
      [[old, old, old], /Expected OLD and NEW, found 3/],
      [[old, old, "--limit", "-1"], /limit/],
      [[old, old, "--region", "x"], /Expected s3:.* with --region/],
      [[old, missing], /Cannot read .*no such file/],
      [[missing, old], /code not-found/],
    ];
    for (const [args, message] of wrong) {
      const { code, out, err } = await cli(["diff", ...args]);
      assert.deepEqual([code, out], [2, ""], err);
      assert.match(err, message);
    }
    const { err } = await cli(["diff", old, missing, "--json"]);
    assert.equal(JSON.parse(err).error.file, missing);
    const { code } = await cli(["diff", old, old], { signal: AbortSignal.abort() });
    assert.equal(code, 130);
  });
});

Deno.test("The examples in the help of diff run", async () => {
  await using folder = await Folder.create();
  const tokenizer = { name: "bytes" };
  const names = await folder.write("a", await bytesOf([[97, 98]], 256, { tokenizer }));
  const newer = await folder.write("b", await bytesOf([[97, 99]], 256, { tokenizer }));
  await withIndexes({}, {}, async (old, now) => {
    const places = {
      "yesterday.safetensors": old,
      "old.safetensors": old,
      "old-names.safetensors": names,
      "names.safetensors": newer,
      "today.safetensors": now,
      "new.safetensors": now,
      "https://cdn.example.com/catalogue.safetensors": now,
    };
    for (const args of helpExamples(DIFF_HELP, places)) {
      const { code, err } = await cli(args);
      assert.deepEqual([code, err], [1, ""], args.join(" "));
    }
  });
});
