/** Outputs: never a file that is read, links followed, permissions kept, any name. */

import assert from "node:assert/strict";
import { buildIndex } from "../../../src/build/mod.ts";
import { cli, Folder, type Outcome, spawn } from "../../support/cli.ts";

const LINES = "[7, 1]\n[7]\n[3, 3, 3]\n";

async function indexBytes(): Promise<Uint8Array> {
  using index = await buildIndex([[7, 1], [3, 3]], { vocabSize: 9 });
  return index.toBytes();
}

/** A folder with an input of each kind, and other ways to each of them. */
async function inputs(): Promise<Folder> {
  const folder = await Folder.create();
  await Deno.mkdir(folder.at("real"));
  await Deno.mkdir(folder.at("real/below"));
  await Deno.symlink("real", folder.at("linked"));
  await Deno.symlink("real/below", folder.at("deep"));
  const files: Record<string, string | Uint8Array> = {
    "rows": LINES,
    "items": "1\n2\n3\n",
    "filter": "1\n0\n1\n",
    "tokenizer.json": "{}",
    "index": await indexBytes(),
  };
  for (const [name, content] of Object.entries(files)) {
    await folder.write(`real/${name}`, content);
    await Deno.link(folder.at(`real/${name}`), folder.at(`hard-${name}`));
    await Deno.symlink(`linked/${name}`, folder.at(`soft-${name}`));
  }
  await Deno.rename(folder.at("hard-index"), folder.at("hard-index.npz"));
  await Deno.rename(folder.at("soft-index"), folder.at("soft-index.npz"));
  await Deno.link(folder.at("real/index"), folder.at("real/index.npz"));
  return folder;
}

function assertRefused({ code, out, err }: Outcome, names: RegExp, told: string): void {
  assert.deepEqual([code, out], [2, ""], `${told}: ${err}`);
  assert.match(err, /^error: Expected different files for .+, found .+; choose another name/, told);
  assert.match(err, names, told);
}

Deno.test("No output takes the place of a file that is read, whatever way leads there", async () => {
  await using folder = await inputs();
  const at = (name: string) => folder.at(name);
  const ways = (
    name: string,
  ) => [`linked/${name}`, `deep/../${name}`, `hard-${name}`, `soft-${name}`];
  const before = new Map<string, Uint8Array>();
  for (const { name } of Deno.readDirSync(at("real"))) {
    if (name !== "below") before.set(name, await Deno.readFile(at(`real/${name}`)));
  }
  const rows = at("real/rows");
  const text = ["--format", "jsonl"];
  const extra = ["--vocab", "9", ...text];
  const items = ["--items", at("real/items")];
  const filter = ["--filter", `a=${at("real/filter")}`];
  const tokenizer = ["--tokenizer", at("real/tokenizer.json"), ...text];
  const cases: [args: string[], flag: string, of: string, names: RegExp][] = [
    [["build", rows, ...extra], "-o", "rows", /INPUT and --out/],
    [["build", rows, ...extra, "-o", at("x.st")], "--ordinals", "rows", /INPUT and --ordinals/],
    [["build", rows, ...extra, ...items], "-o", "items", /--items and --out/],
    [["build", rows, ...extra, ...filter], "-o", "filter", /--filter a and --out/],
    [["build", rows, ...extra, ...filter, "-o", at("x.st")], "--ordinals", "filter", /--filter a/],
  ];
  for (const [args, flag, of, names] of cases) {
    for (const way of ways(of)) {
      // The name of a table is refused for another reason.
      const told = `${args.join(" ")} ${flag} ${way}`;
      // Not join, which would take `deep/..` away.
      assertRefused(await cli([...args, flag, `${folder.path}/${way}`]), names, told);
    }
  }
  const spelt = ["build", rows, ...tokenizer, "-o", at("x.st")];
  const vocabulary = await cli([...spelt, "--ordinals", at("hard-tokenizer.json")]);
  assertRefused(vocabulary, /--tokenizer and --ordinals/, "the tokenizer");
  for (const way of ["linked/index.npz", "hard-index.npz", "soft-index.npz"]) {
    const convert = ["convert", at("real/index"), "-o", at(way)];
    assertRefused(await cli(convert), /IN and --out/, convert.join(" "));
  }
  const address = new URL(`file://${at("real/index")}`).href;
  assertRefused(await cli(["convert", address, "-o", at("hard-index.npz")]), /IN/, address);
  for (const way of ["linked/index", "linked", "linked/", "hard-index.npz", "soft-index.npz"]) {
    const push = ["push", at("real/index"), `${folder.path}/${way}`];
    assertRefused(await cli(push), /FILE and DESTINATION/, push.join(" "));
  }
  for (const [name, bytes] of before) {
    assert.deepEqual(await Deno.readFile(at(`real/${name}`)), bytes, name);
  }
  const names = (await Array.fromAsync(Deno.readDir(at("real")))).map(({ name }) => name);
  assert.ok(names.every((name) => !name.includes("espalier")), String(names));
});

Deno.test("Two outputs are two files, also before they exist", async () => {
  await using folder = await inputs();
  const build = ["build", folder.at("real/rows"), "--vocab", "9", "--format", "jsonl"];
  await folder.write("one", "");
  await Deno.link(folder.at("one"), folder.at("two"));
  await Deno.symlink("real/new", folder.at("dangling"));
  for (
    const [out, ordinals] of [
      ["new", "new"],
      ["real/new", "linked/new"],
      ["real/new", "deep/../new"],
      ["linked/new", "dangling"],
      ["one", "two"],
    ]
  ) {
    const args = [
      ...build,
      "-o",
      `${folder.path}/${out}`,
      "--ordinals",
      `${folder.path}/${ordinals}`,
    ];
    assertRefused(await cli(args), /--out and --ordinals/, `${out} ${ordinals}`);
  }
});

Deno.test("As a process: an output is not the file that standard input is read from", async () => {
  await using folder = await Folder.create();
  const input = await folder.write("rows", LINES);
  const { pathname } = new URL("../../../src/cli/main.ts", import.meta.url);
  const command = `"${Deno.execPath()}" run --quiet --allow-read --allow-write "${pathname}" ` +
    `build - --vocab 9 -o "${input}" < "${input}"`;
  const { code, stderr } = await new Deno.Command("sh", { args: ["-c", command] }).output();
  assert.equal(code, 2);
  assert.match(new TextDecoder().decode(stderr), /Expected different files for INPUT and --out/);
  assert.equal(await Deno.readTextFile(input), LINES);
});

Deno.test("An output keeps the permissions of the file that it replaces", async () => {
  await using folder = await Folder.create();
  const rows = await folder.write("rows.jsonl", LINES);
  const index = await folder.write("index.st", await indexBytes());
  for (const mode of [0o600, 0o640, 0o664, 0o444, 0o755]) {
    const names = ["x.st", "o.npy", "x.npz", "pushed"];
    for (const name of names) {
      await folder.write(name, "before");
      await Deno.chmod(folder.at(name), mode);
    }
    const [out, ordinals, archive, pushed] = names.map((name) => folder.at(name));
    const commands = [
      ["build", rows, "-o", out, "--ordinals", ordinals],
      ["convert", index, "-o", archive],
      ["push", index, pushed],
    ];
    for (const args of commands) {
      const { code, err } = await cli(args);
      assert.equal(code, 0, err);
    }
    for (const name of names) {
      const stat = await Deno.stat(folder.at(name));
      assert.equal((stat.mode! & 0o777).toString(8), mode.toString(8), name);
      assert.notEqual(stat.size, "before".length);
      await Deno.remove(folder.at(name));
    }
  }
  const { code } = await cli(["build", rows, "-o", folder.at("new.st")]);
  const plain = await folder.write("plain", "");
  const [fresh, usual] = [await Deno.stat(folder.at("new.st")), await Deno.stat(plain)];
  assert.deepEqual([code, fresh.mode], [0, usual.mode]);
});

Deno.test("A link as an output stays, and the file that it leads to is replaced", async () => {
  await using folder = await inputs();
  const build = ["build", folder.at("real/rows"), "--vocab", "9", "--format", "jsonl"];
  await folder.write("real/x.st", "before");
  await Deno.chmod(folder.at("real/x.st"), 0o640);
  await Deno.symlink("linked/x.st", folder.at("first"));
  await Deno.symlink("../first", folder.at("real/second"));
  await Deno.symlink("deep/../made.st", folder.at("dangling"));
  for (
    const [name, link, target] of [
      ["first", "linked/x.st", "real/x.st"],
      ["real/second", "../first", "real/x.st"],
      ["dangling", "deep/../made.st", "real/made.st"],
    ]
  ) {
    const { code, err } = await cli([...build, "-o", folder.at(name)]);
    assert.equal(code, 0, err);
    assert.equal(await Deno.readLink(folder.at(name)), link);
    assert.notEqual((await Deno.stat(folder.at(target))).size, "before".length);
    assert.deepEqual((await cli(["verify", folder.at(target)])).code, 0);
    if (target === "real/x.st") await folder.write(target, "before");
  }
  assert.equal((await Deno.stat(folder.at("real/x.st"))).mode! & 0o777, 0o640);
  await Deno.symlink("round", folder.at("round"));
  const round = await cli([...build, "-o", folder.at("round")]);
  assert.equal(round.code, 1);
  assert.match(round.err, /Cannot write ".*round": .*links .*\n {2}code cannot-write/);
});

Deno.test("Any name that a file may have is one for an output", async () => {
  await using folder = await Folder.create();
  const rows = await folder.write("rows.jsonl", LINES);
  const names = [
    "a b",
    `it's "x"`,
    "two\nlines",
    "100%",
    "%41",
    "#1?a=b",
    "[x]*(y)+{z}^$|",
    "\\back",
    "-x",
    "--out",
    "~",
    "x".repeat(229),
    "x".repeat(255),
    "ü".repeat(127),
    `${"x".repeat(251)}😀`,
  ];
  for (const name of names) {
    const { code, err } = await cli([
      "build",
      rows,
      "-o",
      folder.at(name),
      "--vocab",
      "9",
      "--json",
    ]);
    assert.deepEqual([code, err], [0, ""], name);
    assert.deepEqual((await folder.names()).filter((found) => found !== "rows.jsonl"), [name]);
    const verified = await cli(["verify", folder.at(name), "--json"]);
    assert.equal(verified.code, 0, verified.err);
    await Deno.mkdir(folder.at("pushed"));
    const pushed = await cli(["push", folder.at(name), folder.at("pushed"), "--json"]);
    assert.equal(pushed.code, 0, pushed.err);
    const { url } = JSON.parse(pushed.out);
    assert.equal((await cli(["verify", url])).code, 0, url);
    await Deno.remove(folder.at("pushed"), { recursive: true });
    await Deno.remove(folder.at(name));
  }
});

Deno.test("As a process: a name that starts with a dash, from the folder of the output", async () => {
  await using folder = await Folder.create();
  await folder.write("-rows.jsonl", LINES);
  const { pathname } = new URL("../../../src/cli/main.ts", import.meta.url);
  const permissions = ["--quiet", "--allow-read", "--allow-write"];
  const args = ["build", "./-rows.jsonl", "-o", "./-x", "--ordinals", "./--y", "--vocab", "9"];
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...permissions, pathname, ...args],
    cwd: folder.path,
  }).output();
  assert.equal(code, 0);
  assert.deepEqual(await folder.names(), ["--y", "-rows.jsonl", "-x"]);
});

Deno.test("A killed process's file with a long name is removed by the next that writes there", async () => {
  await using folder = await Folder.create();
  const name = "x".repeat(255);
  const killed = spawn(["build", "-", "-o", folder.at(name), "--vocab", "9"], { stdin: "piped" });
  let found: string[] = [];
  while (!found.some((name) => name.endsWith(".tmp"))) {
    found = await folder.names();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  killed.kill("SIGKILL");
  await killed.output();
  await killed.stdin.close().catch(() => {});
  const rows = await folder.write("rows.jsonl", LINES);
  // Another long name with the same start is another file.
  const other = `${"x".repeat(254)}y`;
  assert.equal((await cli(["build", rows, "-o", folder.at(other)])).code, 0);
  assert.deepEqual(await folder.names(), [...found, "rows.jsonl", other].sort());
  assert.equal((await cli(["build", rows, "-o", folder.at(name)])).code, 0);
  assert.deepEqual(await folder.names(), ["rows.jsonl", name, other].sort());
});

Deno.test("What is no file, and no name of one, is refused as an output before anything is read", async () => {
  await using folder = await Folder.create();
  const rows = await folder.write("rows.jsonl", LINES);
  await new Deno.Command("mkfifo", { args: [folder.at("pipe")] }).output();
  await Deno.symlink("/dev/stdout", folder.at("link"));
  await Deno.mkdir(folder.at("folder"));
  const refused: [out: string, found: RegExp][] = [
    [folder.at("pipe"), /expected a file or a new name, found a pipe; /],
    [folder.at("folder"), /expected a file or a new name, found a folder; /],
    [`${folder.path}/new/`, /expected a file or a new name, found the name of a folder; /],
    ["/dev/null", /expected a file or a new name, found a device; /],
    ["/dev/stdout", /expected a file or a new name, found a stream of the process; /],
    ["/dev/fd/1", /found a stream of the process; /],
    ["/proc/self/fd/1", /found a stream of the process; /],
    [folder.at("link"), /found a stream of the process; /],
  ];
  for (const [out, found] of refused) {
    for (const args of [["-o", out], ["-o", folder.at("x.st"), "--ordinals", out]]) {
      const { code, err } = await cli(["build", rows, ...args]);
      assert.equal(code, 1, `${out}: ${err}`);
      assert.match(err, /^error: Cannot write .+\n {2}code cannot-write /, out);
      assert.match(err, found, out);
    }
  }
  const empty = await cli(["build", rows, "-o", folder.at("x.st"), "--ordinals", ""]);
  assert.equal(empty.code, 2, empty.err);
  assert.deepEqual(await folder.names(), ["folder", "link", "pipe", "rows.jsonl"]);
});
