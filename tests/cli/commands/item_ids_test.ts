/** Item ids as arguments: `query --item`, `decode --exclude-item`, `build --item-lookup`. */
import assert from "node:assert/strict";
import { buildIndex } from "../../../src/build/mod.ts";
import { catalogue } from "../../support/catalogue.ts";
import { cli, Folder } from "../../support/cli.ts";

/** Four items, two of which share a sequence. */
async function writeShelf(folder: Folder, items: (bigint | string)[], itemLookup?: boolean) {
  const rows = [[3, 1, 4], [3, 1, 5], [3, 1, 4], [9, 2, 6]];
  const filters = { stock: [true, false, false, true] };
  using index = await buildIndex(rows, {
    vocabSize: 16,
    items: items as string[],
    filters,
    itemLookup,
  });
  return await folder.write("shelf.safetensors", index.toBytes());
}

Deno.test("query lists the sequences of items", async () => {
  await using folder = await Folder.create();
  const file = await writeShelf(folder, [1001n, 1002n, 1003n, 1004n]);
  const ask = async (...args: string[]) => {
    const { code, out, err } = await cli(["query", file, ...args]);
    assert.deepEqual([code, err], [0, ""]);
    return out;
  };
  assert.equal(
    await ask("--item", "1003"),
    "ordinal  sequence  item ids\n      0  3 1 4  1001, 1003\n",
  );
  const both = await ask("--item", "1004", "--item", "1003", "--item", "7", "--json");
  assert.deepEqual(both.trim().split("\n").map((line) => JSON.parse(line)), [
    { ordinal: 0, sequence: [3, 1, 4], items: [1001, 1003] },
    { ordinal: 2, sequence: [9, 2, 6], items: [1004] },
  ]);
  // An item of a shared sequence that the filter forbids is not there, though another of it is.
  assert.equal(
    await ask("--item", "1003", "--filter", "stock"),
    "no sequence that is allowed has such an item\n",
  );
  assert.match(await ask("--item", "1001", "--filter", "stock"), /\n {6}0 {2}3 1 4 {2}1001\n$/);
  assert.equal(await ask("--item=-5"), "no sequence has such an item\n");
  assert.equal(await ask("--item", "5", "--json"), "");
});

Deno.test("ids that the index cannot have, or cannot look up, are named", async () => {
  await using folder = await Folder.create();
  const file = await writeShelf(folder, [1001n, 1002n, 1003n, 1004n]);
  const wrong = await cli(["query", file, "--item", "lamp"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /Expected --item as an integer, .*found "lamp"/);
  const two = await cli(["query", file, "3", "--item", "5"]);
  assert.equal(two.code, 2);
  assert.match(two.err, /Expected PREFIX or --item, found both/);
  const names = await writeShelf(folder, ["a", "b", "1003", "d"], false);
  const old = await cli(["query", names, "--item", "1003"]);
  assert.equal(old.code, 1);
  assert.match(old.err, /has no lookup; build it with itemLookup/);
  using plain = await buildIndex([[1]], { vocabSize: 4 });
  const without = await folder.write("plain.safetensors", plain.toBytes());
  const none = await cli(["query", without, "--item", "1003"]);
  assert.equal(none.code, 2);
  assert.match(none.err, /Expected an index with item ids for --item/);
});

Deno.test("decode leaves excluded items out", async () => {
  await using files = await catalogue();
  const ask = async (...args: string[]) => {
    const base = ["decode", files.index, "--model", files.model, "1,2", "--backend", "wasm"];
    const { code, out, err } = await cli([...base, "--beams", "8", "--json", ...args]);
    assert.deepEqual([code, err], [0, ""]);
    const { results } = JSON.parse(out) as { results: { items: number[] }[] };
    return results.flatMap(({ items }) => items);
  };
  const all = await ask();
  const gone = await ask("--exclude-item", String(all[0]), "--exclude-item", String(all[2]));
  assert.deepEqual([gone.length, gone[0]], [8, all[1]]);
  assert.ok(!gone.includes(all[0]) && !gone.includes(all[2]));
  assert.deepEqual(await ask("--exclude-item", "5"), all);
});

Deno.test("build writes the lookup where it is asked for", async () => {
  await using folder = await Folder.create();
  const rows = [[9, 1], [3, 1], [3, 2]].map((sid, id) => JSON.stringify({ sid, id }));
  const table = await folder.write("rows.jsonl", rows.join("\n"));
  const build = async (...args: string[]) => {
    const out = folder.at("built.safetensors");
    const base = ["build", table, "-o", out, "--vocab", "16", "--sequence", "sid"];
    const { code, err } = await cli([...base, ...args]);
    if (code !== 0) return err;
    const inspected = await cli(["inspect", out, "--json"]);
    return JSON.parse(inspected.out).items.lookup;
  };
  const ids = ["--item-column", "id"];
  assert.equal(await build(...ids), true);
  assert.equal(await build(...ids, "--no-item-lookup"), false);
  assert.equal(await build(...ids, "--item-lookup"), true);
  assert.match(await build(...ids, "--item-lookup", "--no-item-lookup"), /found both/);
  assert.match(await build("--item-lookup"), /Expected --item-lookup beside/);
});
