/** The examples that the help of a command gives, made to run on files of a test. */
import assert from "node:assert/strict";

/**
 * Arguments of each example, without what it is piped into or followed by.
 *
 * @param places what stands for the files and addresses of the examples.
 */
export function helpExamples(help: string, places: Readonly<Record<string, string>>): string[][] {
  const [, section] = /\nExamples\n([^]*?)\n\n/.exec(help) ?? [];
  assert.ok(section, "The help has no examples");
  const lines = section.replace(/\\\n +/g, "").split("\n")
    .filter((line) => /^ +deno task cli /.test(line));
  assert.ok(lines.length > 0, "The help has no examples");
  return lines.map((line) => {
    const words = line.trim().match(/"[^"]*"|'[^']*'|\S+/g)!.slice(3);
    const end = words.findIndex((word) => ["|", ">", "&&"].includes(word));
    const own = end < 0 ? words : words.slice(0, end);
    // A store is not at hand.
    const region = own.indexOf("--region");
    if (region >= 0) own.splice(region, 2);
    return own.map((word) => places[word] ?? word.replace(/^(["'])(.*)\1$/, "$2"));
  });
}
