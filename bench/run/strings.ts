/**
 * A closed list of strings, all package names of npm: time, memory and bytes of their index, against gzip and a string
 * table; and whether it holds them, and nothing else.
 *
 * `deno task bench:strings`. The list (27 MB) is fetched by npm at the first run, and kept in the cache folder.
 */
import { join } from "node:path";
import { createGzip } from "node:zlib";
import { ConstraintIndex } from "../../mod.ts";
import { main } from "../../src/cli/main.ts";
import { tokenizerOf } from "../../src/cli/tokenizers/open.ts";
import { npmPackage } from "../lib/npm_package.ts";
import { peakMemory } from "../lib/peak_memory.ts";
import { record, writeRecords } from "../lib/records.ts";
import { inProcess, MB, random } from "../lib/support.ts";

const PACKAGE = "all-the-package-names@2.0.2578";
const BENCH = "Package names of npm";
const NEAR_MISSES = 1e5;
const TOKENIZERS = ["o200k", "bytes"];

async function gzipped(bytes: Uint8Array<ArrayBuffer>): Promise<number> {
  let size = 0;
  const gzip = createGzip({ level: 9 });
  gzip.on("data", (chunk: Uint8Array) => size += chunk.length);
  const ended = new Promise((resolve, reject) => gzip.on("end", resolve).on("error", reject));
  gzip.end(bytes);
  await ended;
  return size;
}

/** Builds as the command line does, and prints what it says and the peak of memory. */
async function build(list: string, out: string, tokenizer: string): Promise<void> {
  let said = "";
  const io = {
    out: (text: string) => void (said += text),
    err: (text: string) => console.error(text),
    showProgress: false,
    stdin: () => Deno.stdin.readable,
    signal: new AbortController().signal,
  };
  const code = await main(["build", list, "-o", out, "--tokenizer", tokenizer, "--json"], io);
  if (code !== 0) Deno.exit(code);
  console.log(JSON.stringify({ ...JSON.parse(said), peak: peakMemory() }));
}

/** Looks up every name, and others that differ from one in a character; prints how many are found. */
async function verify(list: string, file: string): Promise<void> {
  using index = await ConstraintIndex.open((await Deno.open(file)).readable);
  const tokenizer = await tokenizerOf(index.tokenizer);
  const names = (await Deno.readTextFile(list)).trimEnd().split("\n");
  let found = 0;
  let spelt = 0;
  let nanoseconds = 0;
  for (let i = 0; i < names.length; i++) {
    const tokens = tokenizer.encode(names[i]);
    const began = performance.now();
    const ordinal = index.ordinalOf(tokens);
    nanoseconds += (performance.now() - began) * 1e6;
    if (ordinal === undefined) continue;
    found++;
    if (i % 50 === 0) spelt += Number(tokenizer.decode(index.sequenceAt(ordinal)) === names[i]);
  }
  const known = new Set(names);
  const next = random(1);
  let refused = 0;
  for (let i = 0; i < NEAR_MISSES;) {
    const other = misspelt(names[next() % names.length], next);
    if (other === "" || known.has(other)) continue;
    i++;
    refused += Number(!index.has(tokenizer.encode(other)));
  }
  const lookup = nanoseconds / names.length;
  console.log(JSON.stringify({ names: names.length, found, spelt, refused, lookup }));
}

/** Another character, one less, or one twice. */
function misspelt(name: string, next: () => number): string {
  const at = next() % name.length;
  const changed = ["", name[at] + name[at], "abcdefghijklmnopqrstuvwxyz0123456789-"[next() % 37]];
  return name.slice(0, at) + changed[next() % 3] + name.slice(at + 1);
}

/** What there must be none of. */
const none = (what: string, count: number) => record(BENCH, what, count, "names", 0);

export async function benchStrings(): Promise<void> {
  const names: string[] = JSON.parse(
    await Deno.readTextFile(join(await npmPackage(PACKAGE, "names.json"), "names.json")),
  );
  const count = names.length;
  const folder = await Deno.makeTempDir({ prefix: "espalier-bench-" });
  try {
    const list = join(folder, "names.txt");
    const text = new TextEncoder().encode(`${names.join("\n")}\n`);
    await Deno.writeFile(list, text);
    const figure = (what: string, value: number, unit: string) => record(BENCH, what, value, unit);
    const perName = (what: string, bytes: number) => figure(what, bytes / count, "bytes a name");
    console.log(`\n${BENCH}: ${count}`);
    perName("the list as text", text.length);
    perName("gzip -9 of it, which finds none of them", await gzipped(text));
    perName("string table, text and 32-bit offsets", text.length - count + 4 * (count + 1));
    for (const tokenizer of TOKENIZERS) {
      const file = join(folder, `${tokenizer}.safetensors`);
      const built = await inProcess("strings.ts", "build", list, file, tokenizer);
      perName(`${tokenizer}: index`, built.byteLength);
      perName(
        `${tokenizer}: entropy of such a set of sequences`,
        built.entropyBytesPerItem * count,
      );
      figure(`${tokenizer}: build from the list, with tokenizing`, built.milliseconds / 1e3, "s");
      figure(`${tokenizer}: peak memory of that process`, built.peak / MB, "MB");
      const held = await inProcess("strings.ts", "verify", list, file);
      none(`${tokenizer}: names not found`, held.names - held.found);
      none(
        `${tokenizer}: of every 50th, not spelt by its tokens`,
        Math.ceil(count / 50) - held.spelt,
      );
      none(`${tokenizer}: near misses not refused`, NEAR_MISSES - held.refused);
      figure(`${tokenizer}: one lookup, tokens at hand`, held.lookup, "ns");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const [what, ...args] = Deno.args;
  if (what === "build") await build(args[0], args[1], args[2]);
  else if (what === "verify") await verify(args[0], args[1]);
  else {
    await benchStrings();
    await writeRecords();
  }
}
