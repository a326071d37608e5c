/** What killed builds leave behind: the next one removes it, and nothing else. */

import assert from "node:assert/strict";
import { createLocked, LOCK_NAME } from "../../../src/cli/io/stale_files.ts";
import { WholeFile } from "../../../src/cli/io/whole_file.ts";
import { cli, Folder, spawn } from "../../support/cli.ts";

/** Waits until a folder holds a file whose name fits. */
async function fileIn(folder: Folder, pattern: RegExp): Promise<string> {
  for (;;) {
    const found = (await folder.names()).find((name) => pattern.test(name));
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("As a process: the next build removes the output of one that was killed, not of one at work", async () => {
  await using folder = await Folder.create();
  const args = ["build", "-", "-o", folder.at("x.st"), "--vocab", "9"];
  const temporary = /^\.x\.st\.espalier-[0-9a-f]{8}\.tmp$/;
  const killed = spawn(args, { stdin: "piped" });
  const left = await fileIn(folder, temporary);
  killed.kill("SIGKILL");
  await killed.output();
  await killed.stdin.close().catch(() => {});
  const foreign = [".x.st.0123abcd.tmp", ".y.st.espalier-0123abcd.tmp", "x.st.tmp"];
  for (const name of foreign) await folder.write(name, "");
  assert.ok((await folder.names()).includes(left));

  const working = spawn(args, { stdin: "piped" });
  const isOther = new RegExp(
    `${temporary.source.slice(0, -1)}(?<!${left.replaceAll(".", "\\.")})$`,
  );
  const kept = await fileIn(folder, isOther);
  await folder.write("x.jsonl", "[1]\n");
  const { code } = await cli(["build", folder.at("x.jsonl"), "-o", folder.at("x.st")]);
  assert.equal(code, 0);
  assert.deepEqual(await folder.names(), [...foreign, kept, "x.jsonl", "x.st"].sort());

  const writer = working.stdin.getWriter();
  await writer.write(new TextEncoder().encode("[1]\n[2]\n"));
  await writer.close();
  const { code: other, stdout } = await working.output();
  assert.equal(other, 0);
  assert.match(new TextDecoder().decode(stdout), /sequences +2\n/);
  assert.deepEqual(await folder.names(), [...foreign, "x.jsonl", "x.st"].sort());
});

Deno.test("A file that waits for its place is not taken for abandoned", async () => {
  await using folder = await Folder.create();
  await using first = await WholeFile.create(folder.at("x [1].st"));
  await first.write(Uint8Array.of(1));
  await first.seal();
  await using second = await WholeFile.create(folder.at("x [1].st"));
  await first.publish();
  assert.deepEqual(await Deno.readFile(folder.at("x [1].st")), Uint8Array.of(1));
  await assert.rejects(first.write(Uint8Array.of(2)), { code: "cannot-write" });
  await assert.rejects(second.publish(), /not sealed/);
});

Deno.test("Folders of killed sorts are removed, others and foreign files stay", async () => {
  await using folder = await Folder.create();
  const make = async (name: string, ...files: string[]) => {
    await Deno.mkdir(folder.at(`.espalier-sort-${name}`));
    for (const file of files) await folder.write(`.espalier-sort-${name}/${file}`, "");
  };
  await make("left", LOCK_NAME, "duckdb_temp_storage-0.tmp", "duckdb_temp_block-7.block");
  await make("foreign", LOCK_NAME, "duckdb_temp_storage-0.tmp", "notes.txt");
  await make("unknown", "duckdb_temp_storage-0.tmp");
  await make("working", "duckdb_temp_storage-0.tmp");
  using lock = await createLocked(folder.at(`.espalier-sort-working/${LOCK_NAME}`));
  assert.ok(lock);
  const input = await folder.write("x.jsonl", "[1]\n");
  const { code } = await cli(["build", input, "-o", folder.at("x.st")]);
  assert.equal(code, 0);
  const names = ["foreign", "unknown", "working"].map((name) => `.espalier-sort-${name}`);
  assert.deepEqual(await folder.names(), [...names, "x.jsonl", "x.st"]);
  const inside = async (name: string) => {
    const entries = await Array.fromAsync(Deno.readDir(folder.at(`.espalier-sort-${name}`)));
    return entries.map(({ name }) => name).sort();
  };
  assert.deepEqual(await inside("foreign"), ["notes.txt"]);
  assert.deepEqual(await inside("unknown"), ["duckdb_temp_storage-0.tmp"]);
  assert.deepEqual(await inside("working"), ["duckdb_temp_storage-0.tmp", LOCK_NAME]);
});
