/** A `tokenizer.json` on the command line gives the tokens that transformers.js gives. */

import { PreTrainedTokenizer } from "@huggingface/transformers";
import assert from "node:assert/strict";
import { openTokenizer } from "../../../src/cli/tokenizers/open.ts";
import { Random } from "../../support/models.ts";
import {
  byteLevelTokenizer,
  metaspaceTokenizer,
  wordPieceTokenizer,
} from "../../support/tokenizers.ts";

const CHARACTERS = Array.from("reactREACT  .'é東\u{1f600}1");

Deno.test("Tokens and texts are those of transformers.js", async () => {
  const random = new Random(1);
  const texts = Array.from(
    { length: 500 },
    () =>
      Array.from(
        { length: random.between(1, 12) },
        () => CHARACTERS[random.below(CHARACTERS.length)],
      )
        .join(""),
  );
  for (const json of [byteLevelTokenizer(), metaspaceTokenizer(), wordPieceTokenizer()]) {
    const path = await Deno.makeTempFile({ suffix: ".json" });
    await Deno.writeTextFile(path, JSON.stringify(json));
    const ours = await openTokenizer(path);
    await Deno.remove(path);
    const theirs = new PreTrainedTokenizer(json, {});
    for (const text of texts) {
      const tokens = theirs.encode(text, { add_special_tokens: false });
      assert.deepEqual(ours.encode(text), tokens, JSON.stringify(text));
      if (tokens.length === 0) continue;
      const decoded = theirs.decode(tokens, { clean_up_tokenization_spaces: false });
      assert.equal(ours.decode(tokens), decoded);
    }
  }
});
