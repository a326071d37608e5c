/** The README's Python reads an index as documented. (Its TypeScript runs with the documentation tests.) */
import assert from "node:assert/strict";
import { buildIndex } from "../../src/build/mod.ts";

async function python(code: string, cwd: string): Promise<{ success: boolean; output: string }> {
  try {
    const { success, stdout, stderr } = await new Deno.Command("python3", {
      args: ["-c", code],
      cwd,
    }).output();
    const output = new TextDecoder().decode(success ? stdout : stderr);
    return { success, output };
  } catch (error) {
    return { success: false, output: String(error) };
  }
}

Deno.test("The README's Python reads an index", async (t) => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  const [, snippet] = readme.match(/```python\n([\s\S]*?)```/) ?? [];
  assert.ok(snippet, "The README has a Python block");
  const directory = await Deno.makeTempDir();
  try {
    const numpy = await python("import numpy", directory);
    if (!numpy.success) {
      console.log("Skipped: python3 with NumPy is not installed here");
      await t.step({ name: "needs python3 with NumPy", ignore: true, fn() {} });
      return;
    }
    const rows = [[5, 7, 9], [5, 8, 4], [6, 7, 9]];
    using index = await buildIndex(rows, { vocabSize: 16 });
    await Deno.writeFile(`${directory}/catalogue.safetensors`, index.toStream());
    const { success, output } = await python(
      snippet + `
level = index["levels"][2]
bits = (level["tokenCount"] - 1).bit_length()
words = sections["level2.tokens"]
stream = "".join(format(int(w), "032b")[::-1] for w in words)
tokens = [level["tokenMin"] + int(stream[i * bits:(i + 1) * bits][::-1], 2) for i in range(level["edges"])]
print(json.dumps([index["size"], index["vocabSize"], tokens]))
`,
      directory,
    );
    assert.ok(success, output);
    assert.deepEqual(JSON.parse(output), [3, 16, [9, 4, 9]]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
