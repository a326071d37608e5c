/** The npm package, as a user gets it. */
import { writeBundles } from "../../../../tools/bundle/bundles.ts";
import type { Folder } from "./folder.ts";

/** Packs it, and installs it in a folder from the archive, with what else is named. */
export async function installPackage(folder: Folder, ...others: string[]): Promise<void> {
  await writeBundles(new URL("dist/", folder.url));
  await folder.write("package.json", '{ "private": true, "type": "module" }');
  const archive = (await folder.run("npm", "pack", "./dist/npm", "--silent")).trim();
  const quiet = ["--no-audit", "--no-fund", "--prefer-offline"];
  await folder.run("npm", "install", ...quiet, `./${archive}`, ...others);
}
