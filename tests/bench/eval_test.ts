import assert from "node:assert/strict";
import { canMisspell, type Kind, misspeller } from "../../bench/eval/misspell.ts";
import type { BenchRecord } from "../../bench/lib/records.ts";
import { fold } from "../../demo/fold.ts";
import { loadPlaces } from "../../demo/places.ts";

Deno.test("the misspeller is seeded and never returns the name itself", async () => {
  const { keys } = await loadPlaces();
  const names = keys.filter((key, i) => i % 10 === 0 && canMisspell(key));
  assert.ok(names.length > 14_000);
  const [one, same, other] = [misspeller(7), misspeller(7), misspeller(8)];
  const counts = new Map<Kind, number>();
  let differing = 0;
  for (const name of names) {
    const { query, kinds } = one(name);
    assert.notEqual(query, name);
    assert.equal(fold(query), query, "it is folded as its name is");
    assert.ok(Math.abs(query.length - name.length) <= 20, `${name}: ${query}`);
    assert.ok(
      kinds.length >= 1 && kinds.length <= (name.length < 6 ? 1 : name.length < 10 ? 2 : 3),
    );
    assert.deepEqual(same(name), { query, kinds });
    if (other(name).query !== query) differing++;
    for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  assert.ok(differing > 0.9 * names.length);
  assert.equal(counts.size, 8);
  for (const [kind, count] of counts) assert.ok(count > 100, `${kind}: ${count}`);
});

Deno.test("names with fewer than four Latin letters are not misspelt", () => {
  assert.deepEqual(["york", "a'ala", "ulm", "o 12", "лена"].map(canMisspell), [
    true,
    true,
    false,
    false,
    false,
  ]);
});

async function evaluation(...args: string[]) {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "eval", ...args],
    cwd: new URL("../..", import.meta.url),
  });
  const { code, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

Deno.test("the evaluation's figures are plausible, and kept as its table shows them", async () => {
  const file = await Deno.makeTempFile();
  try {
    const { code, out, err } = await evaluation("--json", file, "--queries", "32", "--seed", "3");
    assert.equal(code, 0, err);
    const kept: BenchRecord[] = (await Deno.readTextFile(file)).trimEnd().split("\n")
      .map((line) => JSON.parse(line));
    const values = new Map(kept.map(({ name, value }) => [name, value]));
    assert.equal(values.size, kept.length, "names are unique");
    const [headings, , ...rows] = out.split("\n").filter((line) => line.startsWith("|"))
      .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
    assert.equal(rows.length, 5);
    assert.match(out, /\n16 names each, misspelt with seed 3;/);
    assert.equal(values.get("queries"), 32);
    assert.ok(values.get("queries that are names of other places")! < 20);
    for (const [way, ...cells] of rows) {
      const value = (name: string) => values.get(`${way}: ${name}`)!;
      const time = `${Math.round(value("a query"))} ms`;
      const shares = headings.slice(1, -1).map((heading) => {
        const [seen, held] = ["seen", "held out"].map((places) => value(`${heading}, ${places}`));
        return `${seen.toFixed(1)} / ${held.toFixed(1)} %`;
      });
      assert.deepEqual(cells, [...shares, time], way);
      for (const places of ["seen", "held out"]) {
        const [recallAt1, recallAt10, missing1, missing10] = headings.slice(1, -1)
          .map((heading) => value(`${heading}, ${places}`));
        const title = `${way}, ${places}`;
        assert.ok(recallAt1 <= recallAt10, title);
        // What comes first is right, or wrong and exists, or does not exist.
        assert.ok(recallAt1 + missing1 <= 100 + 1e-9, title);
        if (way.startsWith("constrained")) {
          assert.deepEqual([missing1, missing10], [0, 0], title);
          assert.ok(recallAt1 > 50 && recallAt10 > 70, title);
        } else if (way.endsWith("filtered")) {
          assert.deepEqual([missing1, missing10], [0, 0], title);
        } else {
          assert.ok(missing1 > 30 && recallAt1 < 60, title);
        }
      }
    }
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("the evaluation explains itself and wrong arguments", async () => {
  const help = await evaluation("--help");
  assert.equal(help.code, 0);
  assert.match(help.out, /Usage: deno task eval/);
  const none = await evaluation("--queries", "0");
  assert.equal(none.code, 2);
  assert.match(none.err, /Give --queries a whole number from 1 to 100000, got "0"/);
});
