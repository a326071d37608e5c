/** Tables in Markdown as `deno fmt` has them, and blocks that are filled in. */

/** A table; the first row is its head. Cells are padded to the width of their column. */
export function table(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = cells[0].map((_, i) => Math.max(3, ...cells.map((row) => [...row[i]].length)));
  const lines = cells.map((row) =>
    `| ${row.map((cell, i) => cell + " ".repeat(widths[i] - [...cell].length)).join(" | ")} |`
  );
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return lines.join("\n");
}

/**
 * Replaces what stands between `<!-- bench:begin NAME -->` and `<!-- bench:end -->`.
 *
 * @throws {Error} if a block has no end, or a name that is not known.
 */
export function fillBlocks(text: string, blocks: Readonly<Record<string, string>>): string {
  let rest = text;
  let filled = "";
  for (let found; (found = /<!-- bench:begin (\S+) -->\n/.exec(rest));) {
    const [mark, name] = found;
    const from = found.index + mark.length;
    const to = rest.indexOf("<!-- bench:end -->", from);
    if (to < 0) throw new Error(`Block "${name}" has no end: add <!-- bench:end -->`);
    if (!(name in blocks)) {
      throw new Error(`Block "${name}" is not known; there are ${Object.keys(blocks).join(", ")}`);
    }
    filled += `${rest.slice(0, from)}\n${blocks[name]}\n\n`;
    rest = rest.slice(to);
  }
  return filled + rest;
}

/** A text in lines of at most 100 characters; code stays on one line. */
export function wrapped(text: string): string {
  const lines = [""];
  for (const word of text.match(/(?:`[^`]*`|[^\s`])+/g) ?? []) {
    const last = lines[lines.length - 1];
    if (last === "") lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= 100) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join("\n");
}
