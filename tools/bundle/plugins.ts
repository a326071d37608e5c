/** How imports are resolved where that depends on who loads the bundle. */
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Plugin } from "esbuild";

/** A file of the repository. */
export const inRepository = (path: string): URL => new URL(`../../${path}`, import.meta.url);

/** A module that Workers need another of. */
interface Variant {
  source: string;
  forWorkers: string;
}

/** By name: the package imports them as `#name`, and its `imports` choose. */
export const VARIANTS: Record<string, Variant> = {
  // Workers refuse to compile from bytes; they compile .wasm files that are imported.
  kernels: {
    source: fileURLToPath(inRepository("src/wasm/kernels.ts")),
    forWorkers: `import kernels from "./kernels.wasm";
export const compiledModule = async () => kernels;
`,
  },
  relaxed_simd: {
    source: fileURLToPath(inRepository("src/wasm/relaxed_simd.ts")),
    forWorkers: `import relaxedSimd from "./relaxed_simd.wasm";
export const relaxedSimdModule = async () => relaxedSimd;
`,
  },
  // Workers have no GPU. Nothing asks for these where there is none.
  webgpu: {
    source: fileURLToPath(inRepository("src/decode/device.ts")),
    forWorkers: "export {};\n",
  },
  reorder: {
    source: fileURLToPath(inRepository("src/kernels/webgpu/reorder.ts")),
    forWorkers: `export function reorderRows() {
  throw new TypeError("Workers have no WebGPU");
}
`,
  },
};

function variantOf(path: string): [name: string, Variant] | undefined {
  return Object.entries(VARIANTS).find(([, { source }]) => source === path);
}

/** Takes what Workers need. The kernels are files beside the bundle. */
export const variantsForWorkers: Plugin = {
  name: "variants for Workers",
  setup(build) {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const [, variant] = variantOf(path) ?? [];
      if (variant) return { contents: variant.forWorkers, loader: "js" };
    });
    build.onResolve(
      { filter: /^\.\/(kernels|relaxed_simd)\.wasm$/ },
      ({ path }) => ({ path, external: true }),
    );
  },
};

/** Leaves the choice to whoever imports the package. */
export const variantsToChoose: Plugin = {
  name: "variants to choose",
  setup(build) {
    build.onResolve({ filter: /\.ts$/ }, ({ path, importer, kind }) => {
      if (kind === "entry-point") return;
      const file = fileURLToPath(new URL(path, pathToFileURL(importer)));
      const [name] = variantOf(file) ?? [];
      if (name) return { path: `#${name}`, external: true };
    });
  },
};

/** Packages are put into the bundle, as Deno finds them. */
export const includedPackages: Plugin = {
  name: "included packages",
  setup(build) {
    build.onResolve({ filter: /^npm:/ }, async ({ path }) => {
      await import(path); // fetches it, if need be
      return { path: fileURLToPath(import.meta.resolve(path)) };
    });
  },
};

/** Packages by version: those that are imported at once, and those that are when they are asked for. */
export interface Dependencies {
  always: Record<string, string>;
  onDemand: Record<string, string>;
}

/** Packages are left to npm, and noted: `npm:name@1.2.3/path` becomes an import of `name/path`. */
export function requiredPackages({ always, onDemand }: Dependencies): Plugin {
  return {
    name: "required packages",
    setup(build) {
      build.onResolve({ filter: /^npm:/ }, ({ path, kind }) => {
        const parts = /^npm:((?:@[^/]+\/)?[^/@]+)@([^/]+)(.*)$/.exec(path);
        if (!parts) return { errors: [{ text: `"${path}" names no version` }] };
        const [, name, version, entry] = parts;
        (kind === "dynamic-import" ? onDemand : always)[name] = version;
        return { path: name + entry, external: true };
      });
    },
  };
}

/**
 * Packages whose names are in variables, which bundlers do not look for, are left to npm, too: the variable is given the
 * name without `npm:` and version, which are noted.
 */
export function namedPackages({ onDemand }: Dependencies): Plugin {
  return {
    name: "named packages",
    setup(build) {
      build.onLoad({ filter: /\/cpu_runtime\.ts$/ }, async ({ path }) => {
        const text = await Deno.readTextFile(path);
        const contents = text.replace(
          /^(const \w+ = ")npm:([^@"]+)@([^"/]+)(";)$/gm,
          (_, start, name, version, end) => {
            onDemand[name] = version;
            return start + name + end;
          },
        );
        return { contents, loader: "ts" };
      });
    },
  };
}
