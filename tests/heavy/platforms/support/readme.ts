/** What the README shows for a platform. */

const README = new URL("../../../../README.md", import.meta.url);

/**
 * A block of code in a language below a heading, the first by default.
 *
 * @throws {Error} if there is none.
 */
export async function snippet(heading: string, language: string, nth = 0): Promise<string> {
  const readme = await Deno.readTextFile(README);
  const [, section] = readme.split(`\n### ${heading}\n`);
  const blocks = new RegExp(`^\`\`\`${language}\\b.*\n([\\s\\S]*?)^\`\`\``, "gm");
  const [, code] = [...section?.split(/\n##/)[0].matchAll(blocks) ?? []][nth] ?? [];
  if (!code) throw new Error(`README.md has no ${language} below "${heading}"`);
  return code;
}
