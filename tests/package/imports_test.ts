/** What importing the module reaches: by URL, with an empty cache, without a registry, and with no import map. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { buildIndex } from "../../src/build/mod.ts";

const root = new URL("../../", import.meta.url);
const { exports }: { exports: Record<string, string> } = JSON.parse(
  await Deno.readTextFile(new URL("deno.json", root)),
);

/** A module of a graph, as `deno info --json` prints it. */
interface Module {
  specifier: string;
  dependencies?: { specifier: string }[];
}

/** Runs this Deno, and gives what it prints. */
async function deno(args: string[], env: Record<string, string> = {}): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, env })
    .output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/**
 * Serves the repository to a process with an empty cache. Gives what it printed and fetched.
 *
 * @param hasPackages whether npm packages are at hand; else there is no registry either.
 */
async function importing(code: (origin: string) => string, hasPackages = false) {
  const fetched: string[] = [];
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const { pathname } = new URL(request.url);
      fetched.push(pathname);
      return new Response(await Deno.readFile(new URL(`.${pathname}`, root)), {
        headers: { "content-type": "text/typescript" },
      });
    },
  );
  const host = `127.0.0.1:${server.addr.port}`;
  const folder = await Deno.makeTempDir({ prefix: "espalier-import-" });
  try {
    const script = `${folder}/script.ts`;
    await Deno.writeTextFile(script, code(`http://${host}`));
    const cache = `${folder}/cache`;
    await Deno.mkdir(cache);
    if (hasPackages) await Deno.symlink(npmCache, `${cache}/npm`);
    const output = await deno(
      ["run", "--no-config", "--no-prompt", "--quiet", `--allow-import=${host}`, script],
      { DENO_DIR: cache, ...hasPackages ? {} : { NPM_CONFIG_REGISTRY: "http://127.0.0.1:1/" } },
    );
    return { output, fetched };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const { npmCache }: { npmCache: string } = JSON.parse(await deno(["info", "--json"]));

const SEARCH = `
using decoder = await createDecoder(index, { backend: "wasm" });
const model = ({ out }) => out.fill(0);
const { ordinals } = await decoder.beamSearch(model, { beamSize: 2 });
console.log(index.size, ...ordinals);`;

Deno.test("mod.ts imported from a URL opens an index and searches, without permissions", async () => {
  using index = await buildIndex([[1, 2], [1, 3], [2, 0]], { vocabSize: 4 });
  const { output, fetched } = await importing((origin) => `
    import { ConstraintIndex, createDecoder } from "${origin}/mod.ts";
    using index = await ConstraintIndex.open(Uint8Array.of(${index.toBytes()}));
    ${SEARCH}`);
  assert.equal(output, "3 0 1\n");
  const needless = fetched.filter((path) =>
    !/^\/(mod|src\/errors|src\/(wasm|storage|index|kernels|decode)\/.*)\.ts$/.test(path) ||
    /^\/src\/(storage\/s3|build)\//.test(path)
  );
  assert.deepEqual(needless, []);
  assert.equal(new Set(fetched).size, fetched.length);
});

Deno.test("./build imported from a URL builds, without permissions", async () => {
  const { output } = await importing((origin) => `
    import { createDecoder } from "${origin}/mod.ts";
    import { buildIndex } from "${origin}/${exports["./build"]}";
    using index = await buildIndex([[1, 2], [1, 3], [2, 0]], { vocabSize: 4 });
    ${SEARCH}`);
  assert.equal(output, "3 0 1\n");
});

/** What must be at hand when they are imported; all others, and other packages, when they are asked for. */
const PACKAGES: Record<string, string> = {
  "./s3": "aws4fetch",
  "./cli": "aws4fetch",
};

for (const [specifier, path] of Object.entries(exports)) {
  const needed = PACKAGES[specifier];
  const how = needed ? `with ${needed} at hand` : "without a registry";
  Deno.test(`${specifier} can be imported from a URL, ${how}`, async () => {
    const { output } = await importing(
      (origin) =>
        `import * as module from "${origin}/${path}"; console.log(Object.keys(module).length > 0);`,
      needed !== undefined,
    );
    assert.equal(output, "true\n");
  });

  Deno.test(`${specifier} needs no import map`, async () => {
    const file = fileURLToPath(new URL(path, root));
    const { modules }: { modules: Module[] } = JSON.parse(await deno(["info", "--json", file]));
    const specifiers = modules
      .filter(({ specifier }) => specifier.startsWith(root.href))
      .flatMap(({ dependencies = [] }) => dependencies.map(({ specifier }) => specifier));
    const npm = /^npm:(@[^/]+\/)?[^/@]+@\d+\.\d+\.\d+(\/|$)/; // to the last digit: no lock file applies either
    const bare = specifiers.filter((name) =>
      !name.startsWith("./") && !name.startsWith("../") && !npm.test(name) &&
      !(specifier === "./cli" && name.startsWith("node:"))
    );
    assert.deepEqual(bare, []);
    if (specifier === ".") assert.deepEqual(specifiers.filter((name) => npm.test(name)), []);
  });
}
