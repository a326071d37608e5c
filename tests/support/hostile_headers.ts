/** Headers that no builder writes: values of another kind, nested deeply, missing, twice. */

import type { Sample } from "./corrupt.ts";
import { sealed } from "./corrupt.ts";
import type { Random } from "./models.ts";

/** JSON values of every kind but the expected one. */
export const HOSTILE_VALUES = [
  "{}",
  "[]",
  "null",
  "true",
  '""',
  '"text"',
  "-1",
  "0",
  "1",
  "0.5",
  "1e999",
  "-1e308",
  "4294967295",
  "18446744073709551616",
  "123456789012345678901234567890",
  '"1e3"',
  '{"toString":1,"valueOf":1}',
  '{"__proto__":{"length":3},"length":2}',
  '{"length":{"toString":null}}',
  '[[[{"toString":0}]]]',
  '"\\u001b]0;owned\\u0007\\u001b[31m\\u009b\\u202e\\u2028\\n\\u0000\\u007f"',
  `"${"long ".repeat(500)}"`,
  `[${'"\\u001b[31m",'.repeat(300)}0]`,
];

/** Arrays or objects in each other; too deep for whatever recurses. */
export function nested(depth: number, isObject: boolean): string {
  const [open, close] = isObject ? ['{"a":', "}"] : ["[", "]"];
  return `${open.repeat(depth)}0${close.repeat(depth)}`;
}

type Json = Record<string | number, unknown>;

/** Stands for JSON text that is put in at the end, because it can be too deep for what writes JSON. */
const place = (i: number) => `@place ${i}@`;

function withText(text: string, values: readonly string[]): string {
  return values.reduce((all, value, i) => all.replace(`"${place(i)}"`, () => value), text);
}

/** All objects and arrays of a value, itself included. */
function nodesOf(value: unknown): Json[] {
  if (typeof value !== "object" || value === null) return [];
  return [value as Json, ...Object.values(value).flatMap(nodesOf)];
}

/** Header and shape of a file, as JSON. */
export function headerOf(
  { bytes, data }: Pick<Sample, "bytes" | "data">,
): { header: Json; shape: Json } {
  const text = new TextDecoder().decode(bytes.subarray(8, bytes.length - data.length));
  const header: Json = JSON.parse(text);
  return { header, shape: JSON.parse((header.__metadata__ as Json).index as string) };
}

/** Changes some values of a header or its shape, and signs it again. */
export async function hostileFile(
  sample: Pick<Sample, "bytes" | "data">,
  random: Random,
): Promise<Uint8Array<ArrayBuffer>> {
  const { header, shape } = headerOf(sample);
  const texts: Record<"header" | "shape", string[]> = { header: [], shape: [] };
  const value = () => {
    if (random.below(40) > 0) return random.pick(HOSTILE_VALUES);
    return nested(random.pick([50, 2000, 2000, 2000, 20_000, 100_000]), random.below(2) === 0);
  };
  for (let times = random.pick([1, 1, 1, 2, 3]); times > 0; times--) {
    const part = random.below(4) ? "shape" : "header";
    const node = random.pick(nodesOf(part === "shape" ? shape : header));
    const keys = Object.keys(node);
    const isNew = keys.length === 0 || random.below(12) === 0;
    const names = ["__proto__", "length", "toString", "extra", "\u001b[31m", "level0.tokens"];
    const key = !isNew
      ? random.pick(keys)
      : Array.isArray(node)
      ? String(node.length)
      : random.pick(names);
    // The shape is text in the header: it is written last.
    if (key === "index" && part === "header" && random.below(4)) continue;
    if (!isNew && !Array.isArray(node) && random.below(8) === 0) delete node[key];
    else if (!isNew && typeof node[key] === "number" && random.below(5) === 0) {
      node[key] = (node[key] as number) + random.pick([-256, -1, 0.5, 1, 256, 2 ** 32]);
    } else {
      const stored = place(texts[part].push(value()) - 1);
      Object.defineProperty(node, key, { value: stored, enumerable: true, configurable: true });
      // What was put in cannot be looked into any more.
    }
  }
  const metadata = header.__metadata__ as Json;
  const isWhole = typeof metadata === "object" && metadata !== null &&
    typeof metadata.index === "string" &&
    !metadata.index.startsWith("@place");
  const twice = random.below(20) === 0 ? `,"levels":${random.pick(HOSTILE_VALUES)}` : "";
  if (isWhole) {
    metadata.index = withText(JSON.stringify(shape), texts.shape).replace(/\}$/, () => `${twice}}`);
  }
  let text = withText(JSON.stringify(header), texts.header);
  if (random.below(20) === 0) {
    const again = random.pick(["__metadata__", "level0.tokens", "__proto__"]);
    text = text.replace(/\}$/, () => `,"${again}":${value()}}`);
  }
  return await sealed(text, sample.data);
}
