/** What the README shows for a platform. */

const README = new URL("../../../README.md", import.meta.url);

/**
 * The first block of code in a language below a heading.
 *
 * @throws {Error} if there is none.
 */
export async function snippet(heading: string, language: string): Promise<string> {
  const readme = await Deno.readTextFile(README);
  const [, section] = readme.split(`\n### ${heading}\n`);
  const [, code] = section?.split(/\n##/)[0].match(
    new RegExp(`^\`\`\`${language}\\b.*\n([\\s\\S]*?)^\`\`\``, "m"),
  ) ?? [];
  if (!code) throw new Error(`README.md has no ${language} below "${heading}"`);
  return code;
}
