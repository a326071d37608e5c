/** Letters as a keyboard without accents has them. */

/** Letters that Unicode does not decompose, as people type them. */
const PLAIN: ReadonlyMap<string, string> = new Map(Object.entries({
  "ß": "ss",
  "æ": "ae",
  "œ": "oe",
  "ø": "o",
  "ł": "l",
  "đ": "d",
  "ð": "d",
  "þ": "th",
  "ħ": "h",
  "ı": "i",
  "ə": "e",
  "’": "'",
  "‘": "'",
  "ʻ": "'",
  "-": " ",
  "–": " ",
}));

/**
 * Without accents and case; hyphens become spaces, and runs of spaces one. Folding twice changes nothing.
 *
 * This is what the model reads and spells, so it must do what `fold` in speller/train/misspell.py does.
 */
export function fold(text: string): string {
  const bare = text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const plain = Array.from(bare, (character) => PLAIN.get(character) ?? character).join("");
  return plain.replace(/\s+/g, " ").trim();
}

/**
 * Whether the names that fold to `key` were held out of training, as one in fifty was: FNV-1a, 32 bits, over
 * its UTF-8 bytes.
 */
export function heldOut(key: string): boolean {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(key)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash % 50 === 0;
}
