/** What makes a folder of JavaScript an npm package: its description and its types. */
import { readdir } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type Dependencies, inRepository, VARIANTS } from "./plugins.ts";

/** An entry point of the package. */
export interface Entry {
  /** Where it is imported from: `.`, `./build`, … */
  specifier: string;
  /** Its source, as a path below the repository. */
  source: string;
  /** Name of its file in the package, without extension. */
  script: string;
}

/** Writes package.json, the types, README and licence. */
export async function writePackage(
  folder: URL,
  entries: readonly Entry[],
  { always, onDemand }: Dependencies,
): Promise<void> {
  const { name, version, license } = JSON.parse(
    await Deno.readTextFile(inRepository("deno.json")),
  );
  const manifest = {
    name,
    version,
    license,
    type: "module",
    engines: { node: ">=20" },
    exports: Object.fromEntries(entries.map(({ specifier, source, script }) => [specifier, {
      types: `./types/${source.replace(/^\.\//, "").replace(/\.ts$/, ".d.ts")}`,
      default: `./${script}.js`,
    }])),
    imports: Object.fromEntries(
      Object.keys(VARIANTS).map((name) => [`#${name}`, {
        workerd: `./${name}.workers.js`,
        default: `./${name}.js`,
      }]),
    ),
    dependencies: always,
    peerDependencies: onDemand,
    peerDependenciesMeta: Object.fromEntries(
      Object.keys(onDemand).map((name) => [name, { optional: true }]),
    ),
  };
  await Deno.writeTextFile(
    new URL("package.json", folder),
    JSON.stringify(manifest, null, 2) + "\n",
  );
  for (const file of ["README.md", "LICENSE"]) {
    await Deno.copyFile(inRepository(file), new URL(file, folder));
  }
  await writeTypes(new URL("types/", folder));
}

/** The types of what is exported: `deno pack` derives them. */
async function writeTypes(folder: URL): Promise<void> {
  const work = await Deno.makeTempDir({ prefix: "espalier-pack-" });
  try {
    const archive = `${work}/package.tgz`;
    await run(Deno.execPath(), "pack", "--allow-dirty", "--no-source-maps", "--output", archive);
    await run("tar", "-xzf", archive, "-C", work);
    for (const file of await readdir(`${work}/package`, { recursive: true })) {
      if (!file.endsWith(".d.ts")) continue;
      const target = fileURLToPath(new URL(file, folder));
      await Deno.mkdir(dirname(target), { recursive: true });
      await Deno.copyFile(`${work}/package/${file}`, target);
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, {
    args,
    cwd: inRepository("."),
    stdout: "null",
  }).output();
  if (!success) throw new Error(`${program} ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}
