/** The bundles: a file for Workers, one for pages, and a package for Node and for bundlers. */
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { type Entry, writePackage } from "./package.ts";
import {
  type Dependencies,
  includedPackages,
  inRepository,
  namedPackages,
  requiredPackages,
  VARIANTS,
  variantsForWorkers,
  variantsToChoose,
} from "./plugins.ts";

/** Files that are loaded together, as paths below the folder of the bundles. */
export interface Bundle {
  name: string;
  files: string[];
}

/** Writes all bundles into a folder. */
export async function writeBundles(folder: URL): Promise<Bundle[]> {
  const { exports }: { exports: Record<string, string> } = JSON.parse(
    await Deno.readTextFile(inRepository("deno.json")),
  );
  const entries = Object.entries(exports).map(([specifier, source]) => ({
    specifier,
    source,
    script: specifier === "." ? "mod" : specifier.slice("./".length),
  }));
  await Deno.mkdir(folder, { recursive: true });
  try {
    return [
      await writeForWorkers(folder, entries.filter(({ script }) => /^(mod|edge)$/.test(script))),
      await writeForPages(folder),
      ...await writeForNpm(folder, entries.filter(({ script }) => script !== "cli")), // that is for Deno
    ];
  } finally {
    await esbuild.stop();
  }
}

/** Entry points in one file, the kernels beside it. */
async function writeForWorkers(folder: URL, entries: readonly Entry[]): Promise<Bundle> {
  await build(folder, {
    stdin: {
      contents: entries.map(({ source }) => `export * from "${source}";`).join("\n"),
      resolveDir: fileURLToPath(inRepository(".")),
    },
    outfile: "workers/espalier.js",
    minify: true,
    // Workers have what the shims are for.
    inject: [],
    target: "esnext",
    plugins: [variantsForWorkers, includedPackages],
  });
  // Its bundle has no builder.
  await copyKernels(new URL("workers/", folder), "serving");
  return {
    name: "workers",
    files: ["espalier.js", "kernels.wasm", "relaxed_simd.wasm"].map((file) => `workers/${file}`),
  };
}

/** mod.ts in one file, kernels included. */
async function writeForPages(folder: URL): Promise<Bundle> {
  const file = "browser/espalier.js";
  await build(folder, {
    entryPoints: [fileURLToPath(inRepository("mod.ts"))],
    outfile: file,
    minify: true,
  });
  return { name: "browser", files: [file] };
}

/** A file for each entry point and variant; what they share is shared. */
async function writeForNpm(folder: URL, entries: readonly Entry[]): Promise<Bundle[]> {
  const dependencies: Dependencies = { always: {}, onDemand: {} };
  const { outputs } = await build(folder, {
    entryPoints: [
      ...entries.map(({ source, script }) => ({
        in: fileURLToPath(inRepository(source)),
        out: script,
      })),
      ...Object.entries(VARIANTS).map(([name, { source }]) => ({ in: source, out: name })),
    ],
    outdir: "npm",
    splitting: true,
    plugins: [variantsToChoose, namedPackages(dependencies), requiredPackages(dependencies)],
  });
  const target = new URL("npm/", folder);
  for (const [name, { forWorkers }] of Object.entries(VARIANTS)) {
    await Deno.writeTextFile(new URL(`${name}.workers.js`, target), forWorkers);
  }
  await copyKernels(target);
  await writePackage(target, entries, dependencies);
  return entries.map(({ specifier, script }) => ({
    name: `npm, ${specifier}`,
    files: loadedWith(`npm/${script}.js`, outputs),
  }));
}

async function copyKernels(folder: URL, kernels = "kernels"): Promise<void> {
  const files = { kernels, relaxed_simd: "relaxed_simd" };
  for (const [name, source] of Object.entries(files)) {
    await Deno.copyFile(
      inRepository(`src/wasm/${source}.gen.wasm`),
      new URL(`${name}.wasm`, folder),
    );
  }
}

async function build(folder: URL, options: esbuild.BuildOptions): Promise<esbuild.Metafile> {
  const { metafile } = await esbuild.build({
    bundle: true,
    format: "esm",
    target: "es2022",
    inject: [fileURLToPath(inRepository("tools/bundle/shims.ts"))],
    absWorkingDir: fileURLToPath(folder),
    metafile: true,
    logLevel: "warning",
    ...options,
  });
  return metafile!;
}

/** A file, what it imports at once, and what that imports. */
function loadedWith(file: string, outputs: esbuild.Metafile["outputs"]): string[] {
  const files = new Set([file]);
  for (const name of files) { // grows meanwhile
    for (const { path, kind, external } of outputs[name]?.imports ?? []) {
      if (path.startsWith("#")) files.add(`npm/${path.slice(1)}.js`);
      else if (!external && kind === "import-statement") files.add(path);
    }
  }
  return [...files];
}
