/** Who imports whom in src: no circles between files, and folders only import from those before them. */
import assert from "node:assert/strict";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Files and folders of src, each may import from those before it. A folder means its own files, not its subfolders. */
const ORDER = [
  "errors.ts",
  "version.gen.ts",
  "wasm",
  "storage",
  "storage/load",
  "storage/s3",
  "index/bits",
  "index/format",
  "index",
  "build",
  "kernels",
  "kernels/wasm",
  "kernels/webgpu/shaders",
  "kernels/webgpu",
  "decode",
  "models/onnx",
  "models/transformers",
  "edge",
  "edge/routes",
  "cli/io",
  "cli/numpy",
  "cli/static",
  "cli/tokenizers",
  "cli/tables",
  "cli/args",
  "cli/serving",
  "cli/commands",
  "cli/main.ts",
];

/** Entry points by folder: each may also import from the subfolders of its own. */
const isEntry = (file: string) => file.endsWith("/mod.ts");

/** Files of src, and what each imports from src: types and dynamic imports count. */
async function importsOf(): Promise<Map<string, string[]>> {
  const files = (await filesBelow("src")).filter((file) => file.endsWith(".ts"));
  const imports = new Map<string, string[]>();
  for (const file of files) {
    const text = await Deno.readTextFile(root + file);
    const specifiers = text.matchAll(/(?:\bfrom|\bimport|\bimport\()\s*"(\.{1,2}\/[^"]+)"/g);
    const resolved = Array.from(
      specifiers,
      ([, specifier]) => relative(root, fileURLToPath(new URL(specifier, `file://${root}${file}`))),
    );
    imports.set(file, resolved.filter((path) => path.startsWith("src/")));
  }
  return imports;
}

async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(root + folder)) {
    if (isDirectory) files.push(...await filesBelow(`${folder}/${name}`));
    else files.push(`${folder}/${name}`);
  }
  return files;
}

/** Groups of files that import each other, directly or by way of others. */
function circles(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const reach = new Map<string, Set<string>>();
  for (const file of imports.keys()) {
    const seen = new Set<string>();
    const open = [...imports.get(file)!];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (seen.has(next)) continue;
      seen.add(next);
      open.push(...imports.get(next) ?? []);
    }
    reach.set(file, seen);
  }
  const found: string[][] = [];
  for (const [file, seen] of reach) {
    if (!seen.has(file) || found.some((group) => group.includes(file))) continue;
    found.push([...seen].filter((other) => reach.get(other)?.has(file)).sort());
  }
  return found;
}

/** Place of a file in the order. */
function placeOf(file: string): number {
  // These errors are thrown by all of cli, and name addresses as cli/io does.
  if (file === "src/cli/errors.ts") return ORDER.indexOf("cli/io");
  const path = file.slice("src/".length);
  const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")));
  return Math.max(ORDER.indexOf(path), ORDER.indexOf(folder));
}

const imports = await importsOf();

Deno.test("No files of src import each other in a circle", () => {
  assert.deepEqual(circles(imports), []);
  const made = new Map([["a", ["b"]], ["b", ["c"]], ["c", ["a"]], ["d", ["a"]]]);
  assert.deepEqual(circles(made), [["a", "b", "c"]]);
});

Deno.test("Every file of src has its place in the order of folders", () => {
  assert.ok(imports.size > 150);
  assert.deepEqual([...imports.keys()].filter((file) => placeOf(file) < 0), []);
});

Deno.test("Folders of src import from those before them only", () => {
  const wrong: string[] = [];
  for (const [file, targets] of imports) {
    const folder = file.slice(0, file.lastIndexOf("/") + 1);
    for (const target of targets) {
      if (placeOf(target) <= placeOf(file)) continue;
      if (isEntry(file) && target.startsWith(folder)) continue;
      wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("No folder holds more files than can be looked over", async () => {
  const counts = new Map<string, number>();
  for (const top of ["src", "tests", "bench", "asm", "demo", "tools"]) {
    for (const file of await filesBelow(top)) {
      const folder = file.slice(0, file.lastIndexOf("/"));
      counts.set(folder, (counts.get(folder) ?? 0) + 1);
    }
  }
  const full = [...counts].filter(([, count]) => count > 26);
  assert.deepEqual(full, []);
});
