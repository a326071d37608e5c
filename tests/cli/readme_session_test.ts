/** The session in the README: every command, and what it says. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { cli, Folder } from "../support/cli.ts";

const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
const [, section] = /\n### A session\n([^]*?)\n##/.exec(readme)!;
const models = fileURLToPath(new URL("../../demo/speller/", import.meta.url));

/** Without what differs from run to run. */
// Last digits of scores depend on whether the processor fuses multiply-add.
const lasting = (text: string) =>
  text.replace(/( time +).*/, "$1").replace(/(-\d+\.\d\d)\d\d\b/g, "$1").replace(
    /, model on .*/,
    "",
  ).trimEnd();

Deno.test("The session in the README goes as it stands there", async () => {
  await using folder = await Folder.create();
  const [, lines] = /```sh\ncat > places\.jsonl <<END\n([^]*?)END\n```/.exec(section)!;
  await folder.write("places.jsonl", lines);
  const local = (text: string) =>
    text.replaceAll("demo/speller/", models).replaceAll("places.", folder.at("places."));
  const blocks = [...section.matchAll(/```console\n([^]*?)```/g)].map(([, block]) => block);
  const runs = blocks.join("\n").split(/^\$ deno task -q cli /m).slice(1);
  assert.deepEqual(runs.map((run) => run.split(" ")[0]), [
    "build",
    "inspect",
    "query",
    "query",
    "decode",
  ]);
  for (const run of runs) {
    const [, command, expected] = /^((?:.*\\\n)*.*)\n([^]*)$/.exec(run)!;
    const args = command.replaceAll("\\\n", " ").split(/ +/).map(local);
    const onCpu = args[0] === "decode" ? ["--backend", "wasm"] : [];
    const { code, out, err } = await cli([...args, ...onCpu]);
    assert.deepEqual([code, err], [0, ""]);
    assert.equal(lasting(out), lasting(local(expected)));
  }
});
