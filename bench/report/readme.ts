/** The tables of the README: which figures of which bench stand where. */
import type { Origin } from "../lib/origin.ts";
import { type BenchRecord, figure } from "../lib/records.ts";
import { table, wrapped } from "./markdown.ts";

/** A row: its label, and for each column the name of a figure, or nothing. */
type Row = readonly [label: string, bench: string, ...names: (string | undefined)[]];

interface Block {
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
}

const INDEX = "Index of random SIDs";
const SEARCH = "Search in WASM";
const FILTER = "Item filters";
const OPEN = "Opening over loopback";
const SLOW = "Opening on a link of 10 MB/s";
const START = "From the start of a process";
const STRINGS = "Package names of npm";
const LOAD = "HTTP handler under load";
const COLD = "Cold start of a server";
const HELD = "Memory of a server";
const MODEL = "The demo's model";
const EVAL = "The demo's model on misspelt names";
const LARGE = "More rows than memory";
const PUBLISHED = "Against the published method in PyTorch";
const PEERS = "Logits processors of transformers.js";

/** Figures that are named by the size of the set: at 1, 10 and, in the search, 30 million items. */
const sized = (label: string, bench: string, what: string, mark = ":"): Row => [
  label,
  bench,
  ...[1, 10, 30].map((size) => `${size} M items${mark} ${what}`),
];

/** A list of strings under a tokenizer. */
const list = (bench: string): Row => [
  bench,
  bench,
  "index",
  "the trie of Maps",
  "search, B = 1, M = 20",
  "mask of 20 rows behind random prefixes",
  "mask of 20 rows behind random prefixes, by a trie of Maps",
  "mask of 20 rows behind random prefixes: ours against the trie",
];

const filtered = (label: string, what: string) => sized(label, FILTER, what, ",");

const client = (label: string, name: string): Row => [
  label,
  LOAD,
  ...["requests", "answers", "p50", "p99", "503"].map((what) => `${name}: ${what}`),
];

const way = (name: string): Row => [
  name,
  EVAL,
  ...["recall@1", "recall@10", "no place, first"].flatMap((what) => [
    `${name}: ${what}, seen`,
    `${name}: ${what}, held out`,
  ]),
  `${name}: a query`,
];

const FORMS = [".npy", "Parquet with columns", "Parquet with lists"];
const large = (label: string, work: string, what: string): Row => [
  `${label}: ${what}`,
  LARGE,
  ...FORMS.map((form) => `100 M rows, ${work} ${form}: ${what}`),
];

const BLOCKS: Record<string, Block> = {
  eval: {
    columns: [
      "recall@1, seen",
      "held out",
      "recall@10, seen",
      "held out",
      "first does not exist, seen",
      "held out",
      "a query",
    ],
    rows: [
      way("constrained, 20 beams"),
      way("constrained, 64 beams"),
      way("unconstrained, greedy"),
      way("unconstrained, 20 beams"),
      way("unconstrained, 20 beams, filtered"),
    ],
  },
  large: {
    columns: [".npy", "Parquet, a column per token", "Parquet, lists"],
    rows: ["time", "peak memory", "temporary files"].flatMap((what) => [
      large("build", "build from", what),
      large("DuckDB's sort alone", "DuckDB's sort of", what),
    ]),
  },
  index: {
    columns: ["1 M items", "10 M items"],
    rows: [
      sized("index", INDEX, "size"),
      sized("entropy of such a set", INDEX, "entropy"),
      sized("build from an unsorted matrix", INDEX, "build from an unsorted Uint16 matrix"),
      sized("peak memory of the build, matrix included", INDEX, "peak memory, matrix included"),
      [
        "memory to load it over HTTP and serve with two filters",
        "Memory to load",
        undefined,
        "10 M items, over HTTP, two filters: beyond the runtime",
      ],
      sized(
        "the same from a file",
        INDEX,
        "memory to load and serve with two filters, beyond the runtime",
      ),
      sized("open over loopback, digests included", OPEN, "open, digests included"),
      sized(
        "the same against `fetch` and `arrayBuffer`",
        OPEN,
        "open, digests included, against fetch",
      ),
      sized("without digests", OPEN, "open without digests, against fetch"),
      sized("with `parallel: 4`", OPEN, "open with parallel: 4, against fetch"),
      [
        "memory with `parallel: 4`, over HTTP",
        "Memory to load",
        undefined,
        "10 M items, over HTTP, parallel: 4, two filters: beyond the runtime",
      ],
      sized(
        "first step of a search, progressive, at 10 MB/s",
        SLOW,
        "first step of a search",
      ),
      [
        "start of a process to the first masked step",
        START,
        "whole: until the first masked step",
      ],
      ["import of `mod.ts` and kernels", START, "whole: import and kernels"],
    ],
  },
  search: {
    columns: ["1 M items", "10 M items", "30 M items"],
    rows: [
      sized("constraint per step (mask, select, advance)", SEARCH, "constraint a step"),
      sized("whole search, 8 steps, log-softmax included", SEARCH, "whole search"),
      sized("of that, the steps in the kernels", SEARCH, "steps in the kernels"),
      sized(
        "against an unconstrained search in the same kernels",
        SEARCH,
        "against the unconstrained search",
      ),
      filtered("a filter that allows 10 %, compiled from bits", "10 % allowed: compile from bits"),
      filtered("its memory", "10 % allowed: memory"),
      filtered("search with it, against one without", "10 % allowed: search against one without"),
      filtered("the same where 1 % is allowed", "1 % allowed: search against one without"),
      filtered("search with 100 exclusions per batch row", "100 excluded per batch row: search"),
      filtered("the same with 10 000", "10000 excluded per batch row: search"),
    ],
  },
  published: {
    columns: ["1 M items", "10 M items"],
    rows: [
      sized("whole search, PyTorch", PUBLISHED, "whole search, PyTorch"),
      sized(
        "the same with one top-k on the dense level",
        PUBLISHED,
        "whole search, PyTorch with one top-k a batch row",
      ),
      sized("ours, in WASM", PUBLISHED, "whole search, ours"),
      sized("ours against PyTorch", PUBLISHED, "ours against PyTorch"),
      sized(
        "ours against the faster one",
        PUBLISHED,
        "ours against PyTorch with one top-k a batch row",
      ),
      sized("index, PyTorch", PUBLISHED, "index, PyTorch"),
      sized("index, ours", PUBLISHED, "index, ours"),
      sized("sort and build, PyTorch and NumPy", PUBLISHED, "sort and build, PyTorch and numpy"),
      sized("sort and build, ours", PUBLISHED, "sort and build, ours"),
    ],
  },
  sets: {
    columns: [
      "index",
      "trie of Maps",
      "search, M = 20",
      "mask of 20 rows",
      "the trie's",
      "ours against it",
    ],
    rows: ["English words", "city names", "npm package names"].flatMap((name) => [
      list(`${name}, o200k`),
      list(`${name}, bytes`),
    ]),
  },
  peers: {
    columns: ["ours", "trie of Maps", "ours against it"],
    rows: [
      ["memory", PEERS, "index", "trie of Maps"],
      ...[0, 1, 5].map((depth): Row => {
        const what = `20 rows of 151936 logits behind ${depth} tokens`;
        return [
          what,
          PEERS,
          `${what}: ours`,
          `${what}: trie of Maps`,
          `${what}: ours against the trie`,
        ];
      }),
    ],
  },
  strings: {
    columns: ["o200k", "bytes"],
    rows: [
      ["index", STRINGS, "o200k: index", "bytes: index"],
      ["the list as text", STRINGS, "the list as text", "the list as text"],
      [
        "gzip -9 of it",
        STRINGS,
        "gzip -9 of it, which finds none of them",
        "gzip -9 of it, which finds none of them",
      ],
      [
        "string table: text and 32-bit offsets",
        STRINGS,
        "string table, text and 32-bit offsets",
        "string table, text and 32-bit offsets",
      ],
      [
        "build from the list, with tokenizing",
        STRINGS,
        "o200k: build from the list, with tokenizing",
        "bytes: build from the list, with tokenizing",
      ],
      [
        "peak memory of that process",
        STRINGS,
        "o200k: peak memory of that process",
        "bytes: peak memory of that process",
      ],
    ],
  },
  load: {
    columns: ["requests", "answers", "p50", "p99", "503"],
    rows: [
      client("1 client", "1 client"),
      client("8 clients", "8 clients"),
      client("64 clients, who come back when told to", "64 clients"),
      client("10 × as many requests, come what may", "10 × as many as that"),
      client("the same again", "10 × as many as that, again"),
      client("and again", "10 × as many as that, and again"),
    ],
  },
  start: {
    columns: ["measured"],
    rows: [
      ["Deno, 1 M items: process to first answer", COLD, "Deno, 1 M items"],
      ["Node, 1 M items", COLD, "Node, 1 M items"],
      ["workerd, 1 M items in R2, its own start included", COLD, "workerd, 1 M items in R2"],
      ["Deno, the demo's model and index", COLD, "Deno, demo's model and index"],
      ["a server with 1 M items and two filters, beyond a bare one", HELD, "1 M items: resident"],
      ["a server with 10 M items and two filters", HELD, "10 M items: resident"],
      ["the bundle for Workers, gzip", "Bundle for Workers", "size, gzip"],
      ["a step of the demo's model, 20 beams, CPU", MODEL, "20 beams, CPU: a step"],
      [
        "of that: softmax, constraint and selection",
        MODEL,
        "20 beams, CPU: share of softmax, constraint, selection",
      ],
    ],
  },
};

/**
 * A block from the newest figures of one machine.
 *
 * @throws {Error} if a row has none while its bench has: it has been renamed, or failed.
 */
function blockOf({ columns, rows }: Block, records: readonly BenchRecord[]): string {
  const used: BenchRecord[] = [];
  const benches = new Set(records.map(({ bench }) => bench));
  const shown = rows.map(([label, bench, ...names]) => {
    const cells = columns.map((_, i) => {
      const found = records.find((entry) => entry.bench === bench && entry.name === names[i]);
      if (!found) return "";
      used.push(found);
      const over = found.ok === false ? " (over its budget)" : "";
      return `${figure(found.value)} ${found.unit}${over}`;
    });
    if (benches.has(bench) && cells.every((cell) => cell === "")) {
      throw new Error(`"${bench}" has no figure for "${label}": ${names.join(" | ")}`);
    }
    return [label, ...cells];
  }).filter(([, ...cells]) => cells.some((cell) => cell !== ""));
  if (used.length === 0) return "Not measured yet.";
  const [{ origin }] = used;
  const dates = used.map(({ origin }) => origin.date).sort();
  const days = [...new Set([dates[0], dates[dates.length - 1]])].join(" to ");
  return [
    table([["", ...columns], ...shown]),
    wrapped(`${origin.machine}; Deno ${origin.deno}; ${days}.`),
  ].join("\n\n");
}

/** Of entries, those of the machine that measured last. */
export function ofLatestMachine<T extends { origin: Origin }>(entries: readonly T[]): T[] {
  let latest: Origin | undefined;
  for (const { origin } of entries) if (!latest || origin.date > latest.date) latest = origin;
  return entries.filter(({ origin }) => origin.machine === latest?.machine);
}

/** All blocks by name, each from the machine that measured its benches last. */
export function readmeBlocks(records: readonly BenchRecord[]): Record<string, string> {
  return Object.fromEntries(
    Object.entries(BLOCKS).map(([name, block]) => {
      const benches = new Set(block.rows.map(([, bench]) => bench));
      const own = records.filter(({ bench }) => benches.has(bench));
      return [name, blockOf(block, ofLatestMachine(own))];
    }),
  );
}
