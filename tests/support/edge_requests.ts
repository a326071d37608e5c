/** Random bodies for the HTTP handler: mostly right, wrong in one place or another. */

import type { Random } from "./models.ts";

interface Bounds {
  prompts: number;
  prefixes: number;
  promptTokens: number;
  beams: number;
  exclusions: number;
  /** Digests of the indexes that may be served. */
  indexes?: readonly string[];
  filterTerms: number;
}

const NONSENSE: unknown[] = [
  null,
  true,
  "",
  "fresh",
  -1,
  1.5,
  1e300,
  2 ** 31,
  2 ** 32,
  [],
  {},
  [[]],
  { all: [] },
  { tokens: 3 },
  "𝒳".repeat(3),
];

/** A path and a body. */
export function randomRequest(random: Random, bounds: Bounds): { path: string; body: unknown } {
  const { prompts, prefixes, promptTokens, beams, exclusions, filterTerms, indexes = [] } = bounds;
  const chance = (n: number) => random.below(n) === 0;
  /** Now and then something else. */
  const or = (value: unknown): unknown => chance(40) ? random.pick(NONSENSE) : value;
  const length = (most: number, least = 0) => chance(30) ? most + 1 : random.between(least, most);
  const list = (count: number, make: () => unknown) => or(Array.from({ length: count }, make));
  const tokens = () => list(length(promptTokens), () => or(random.below(70)));
  const filter = (depth: number): unknown => {
    if (depth <= 0 || chance(2)) return or(random.pick(["fresh", "adult", "de", "de", "no such"]));
    const kind = random.below(3);
    if (kind === 0) return { not: filter(depth - 1) };
    const parts = list(length(filterTerms, 1), () => filter(depth - 1));
    return or(kind === 1 ? { all: parts } : { any: parts });
  };
  const ids = () =>
    list(length(exclusions), () => or(String(random.pick([0, 5, 1e6, "x"])) + random.below(300)));
  const depth = () => chance(20) ? 6 : random.below(4);
  const maybe = (name: string, make: () => unknown, n = 3) =>
    chance(n) ? { [name]: or(make()) } : {};
  const row = (isPrompt: boolean) => () =>
    or(
      chance(2) ? tokens() : {
        ...chance(30) ? {} : { tokens: tokens() },
        ...maybe("filter", () => filter(depth())),
        ...isPrompt
          ? maybe("exclude", () => list(length(exclusions), () => or(random.below(400))))
          : maybe("exclude", () => [], 30),
        ...maybe("excludeItems", ids, 6),
        ...maybe("onlyItems", ids, 6),
        ...maybe("more", () => 1, 60),
      },
    );
  const rules = () => ({
    ...maybe("index", () => random.pick([...indexes, "0".repeat(64), "0"]), 2),
    ...maybe("exclude", () => list(length(exclusions), () => or(random.below(400))), 8),
    ...maybe("excludeItems", ids, 8),
    ...maybe("onlyItems", ids, 8),
  });
  const extra = maybe(random.pick(["x", "beam", "constructor", "toString"]), () => 1, 40);
  if (chance(3)) {
    const body = {
      ...chance(40) ? {} : { prefixes: list(length(prefixes, 1), row(false)) },
      ...maybe("filter", () => filter(depth())),
      ...rules(),
      ...extra,
    };
    return { path: "/v1/mask", body: or(body) };
  }
  const body = {
    ...chance(40) ? {} : { prompts: list(length(prompts, 1), row(true)) },
    ...maybe("beams", () => length(beams, 1), 2),
    ...maybe("normalize", () => random.pick(["vocab", "allowed", "none", "all"]), 4),
    ...maybe("lengthPenalty", () => random.between(-9, 9) / 1.05, 4),
    ...maybe("tokensPerBeam", () => random.between(0, 5), 4),
    ...maybe("endToken", () => random.pick([1, 63, 64, 70]), 4),
    ...maybe("filter", () => filter(depth())),
    ...rules(),
    ...extra,
  };
  return { path: "/v1/decode", body: or(body) };
}
