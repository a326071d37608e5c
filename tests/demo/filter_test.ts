/** The demo's filters: what they allow, on the real places, against the rules applied one place at a time. */
import { LONG, some } from "../support/long.ts";
import assert from "node:assert/strict";
import { createDecoder } from "../../mod.ts";
import { closest } from "../../demo/closest.ts";
import { compileFilter } from "../../demo/filter.ts";
import { HELP, parse } from "../../demo/options.ts";
import { groupPlaces, loadPlaces, type Place, type Places } from "../../demo/places.ts";
import { rulesOf } from "../../demo/rules.ts";
import { indexOf } from "../../demo/search.ts";
import { find, type Session } from "../../demo/session.ts";
import { Speller, tokensOf } from "../../demo/speller.ts";
import { UsageError } from "../../src/cli/errors.ts";

/** The real places: to load them takes most of a second. */
const allPlaces = loadPlaces();

/** Runs a test with all that searches need. */
async function withSession(beamSize: number, test: (session: Session) => Promise<void>) {
  const places = await allPlaces;
  await using speller = await Speller.open();
  using index = await indexOf(places.keys);
  using decoder = await createDecoder(index, { backend: "wasm" });
  const options = { batchSize: 1, beamSize, best: Math.min(16, beamSize) };
  await test({ index, decoder, places, speller, options });
}

/** The rules that arguments come to. */
function rules(places: Places, ...args: string[]) {
  return rulesOf(parse([...args, "x"]).filter, places);
}

/** Kilometres, by the angle between two vectors: another formula than that of the demo. */
function kilometres({ latitude, longitude }: Place, lat: number, lng: number): number {
  const [a, b, c, d] = [latitude, lat, longitude, lng].map((degrees) => degrees * Math.PI / 180);
  const cosine = Math.sin(a) * Math.sin(b) + Math.cos(a) * Math.cos(b) * Math.cos(c - d);
  return 6371 * Math.acos(Math.min(1, cosine));
}

interface Case {
  readonly args: readonly string[];
  readonly passes: (place: Place) => boolean;
  readonly excluded?: readonly string[];
}

const CASES: readonly Case[] = [
  { args: ["--country", "FR"], passes: ({ country }) => country === "FR" },
  {
    args: ["--country", "es, PT", "--country", "it,ES"],
    passes: ({ country }) => ["ES", "PT", "IT"].includes(country),
  },
  {
    args: ["--not-country", "US,BR", "--not-country", "FR"],
    passes: ({ country }) => !["US", "BR", "FR"].includes(country),
  },
  {
    args: ["--admin1", "us.tx", "--admin1", "FR.11"],
    passes: ({ admin1 }) => admin1 === "US.TX" || admin1 === "FR.11",
  },
  { args: ["--near", "48.86,2.35,60"], passes: (place) => kilometres(place, 48.86, 2.35) <= 60 },
  {
    // Across the date line.
    args: ["--near=-17.5,179.9,600", "--near", "52,-179.9,900"],
    passes: (place) =>
      kilometres(place, -17.5, 179.9) <= 600 || kilometres(place, 52, -179.9) <= 900,
  },
  {
    args: ["--country", "DE,FR", "--near", "49,8,150", "--not-country", "DE"],
    passes: (place) => place.country === "FR" && kilometres(place, 49, 8) <= 150,
  },
  {
    args: ["--country", "US", "--admin1", "US.TX,FR.11", "--exclude", "PARIS"],
    passes: ({ admin1 }) => admin1 === "US.TX",
    excluded: ["paris"],
  },
  {
    args: ["--exclude", "São Paulo", "--exclude", "vienna", "--exclude", "Sao Paulo"],
    passes: () => true,
    excluded: ["sao paulo", "vienna"],
  },
];

Deno.test("filters of the demo allow the names of which one place passes, and searches keep to them", (t) =>
  withSession(16, async (session) => {
    const { index, places } = session;
    for (const [i, { args, passes, excluded = [] }] of CASES.entries()) {
      await t.step(args.join(" "), async () => {
        using filter = compileFilter(index, places, await rules(places, ...args));
        const isAllowed = (key: string) =>
          !excluded.includes(key) && places.called(key).some(passes);
        assert.equal(filter.names, places.keys.filter(isAllowed).length);
        assert.ok(filter.names > 16 && filter.names < index.size);
        const compiled = filter.search.filter;
        for (const [k, key] of places.keys.entries()) {
          if (!LONG && k % CASES.length !== i) continue;
          assert.equal(filter.allows(key), isAllowed(key), key);
          const inFilter = compiled?.has(index.ordinalOf(tokensOf(key))!) ?? true;
          assert.equal(inFilter && !excluded.includes(key), isAllowed(key), key);
        }
        const queries = ["Pariss", "Vianna", "Sao Paolo"];
        for (const query of some(queries, i)) {
          const { found } = await find(session, query, filter);
          assert.ok(found.length > 0);
          for (const { key, places: shown } of found) {
            assert.ok(isAllowed(key), key);
            const passing = places.called(key).filter(passes);
            assert.deepEqual(new Set(shown), new Set(passing), "those that pass, and all of them");
          }
        }
      });
    }
  }));

/** What the examples of the help find first, by their arguments. */
const EXAMPLES = new Map([
  ['"Kopenhagn"', ["Copenhagen DK 55.68"]],
  ['--country FR "Orlean" "Parris"', ["Orléans FR 47.90", "Paris FR 48.85"]],
  ['--admin1 US.TX "Parris"', ["Paris US 33.66"]],
  ['--country ES,PT --not-country ES "Lisbone"', ["Lisbon PT 38.73"]],
  ['--country US --near 38.9,-77.04,300 "Vianna"', ["Vienna US 38.90"]],
  ['--near=-33.87,151.21,200 "Neucastle"', ["Newcastle AU -32.93"]],
  ['--exclude Viana "Vianna"', ["Vienna AT 48.21"]],
]);

Deno.test("the examples of the help find what they look for", () =>
  withSession(64, async (session) => {
    const { index, places } = session;
    const examples = Array.from(HELP.matchAll(/^ {2}deno task demo (.+)$/gm), ([, line]) => line);
    assert.deepEqual(examples, Array.from(EXAMPLES.keys()));
    for (const [line, answers] of EXAMPLES) {
      // As a shell takes it apart.
      const { filter: request, queries, beams } = parse(line.replaceAll('"', "").split(" "));
      assert.equal(beams, session.options.beamSize);
      using filter = compileFilter(index, places, await rulesOf(request, places));
      for (const [i, query] of queries.entries()) {
        const [{ places: [{ name, country, latitude }] }] =
          (await find(session, query, filter)).found;
        assert.equal(`${name} ${country} ${latitude.toFixed(2)}`, answers[i], line);
      }
    }
  }));

Deno.test("a name of which each place breaks a rule is not allowed, though it has places for each rule", async () => {
  const row = (name: string, country: string, lat: string) => ({
    name,
    country,
    admin1: "",
    lat,
    lng: "0",
  });
  const places = groupPlaces([
    row("Paris", "FR", "49"),
    row("Paris", "US", "33"),
    row("Lyon", "FR", "46"),
    row("Dallas", "US", "33"),
  ]);
  using index = await indexOf(places.keys);
  const southern = ["--near", "33,0,100"];
  await assert.rejects(
    async () => compileFilter(index, places, await rules(places, "--country", "FR", ...southern)),
    {
      code: "nothing-allowed",
      message:
        /^No place passes all filters: in FR \(France\) \(2 names\), within 100 km of 33,0 \(2 names\);/,
    },
  );
  using filter = compileFilter(index, places, await rules(places, "--country", "US", ...southern));
  assert.deepEqual(places.keys.filter(filter.allows), ["dallas", "paris"]);
  assert.deepEqual(places.called("paris").filter(filter.passes).map((p) => p.country), ["US"]);
});

Deno.test("filters of the demo that leave nothing say so", async () => {
  const places = await allPlaces;
  using index = await indexOf(places.keys);
  for (
    const args of [
      ["--country", "FR", "--not-country", "fr"],
      ["--near", "0,-30,10"],
      ["--country", "PN", "--exclude", "Adamstown"],
    ]
  ) {
    const asked = await rules(places, ...args);
    assert.throws(() => compileFilter(index, places, asked), { code: "nothing-allowed" });
  }
});

Deno.test("codes, points and names that are none are refused, with near matches", async () => {
  const places = await allPlaces;
  const refusals: [string[], RegExp][] = [
    [["--country", "UK"], /got "UK"; near it: GB \(United Kingdom\); .*--list-countries$/],
    [["--country", "DE,Frence"], /got "Frence"; near it: FR \(France\), .*; all codes/],
    [["--country", ""], /^Give --country the code .* got ""; /],
    [["--not-country", "123"], /^Give --not-country .* got "123"; all codes: /],
    [
      ["--admin1", "US.Texas"],
      /got "US.Texas"; near it: US.TX \(Texas\); .*--list-admin1 COUNTRY$/,
    ],
    [["--admin1", "TX"], /near it: US.TX \(Texas\)/],
    [["--near", "1,2"], /^Give --near a latitude, a longitude and kilometres.*got "1,2"/],
    [["--near", "91,0,1"], /got "91,0,1"/],
    [["--near", "0,181,1"], /got "0,181,1"/],
    [["--near", "0,0,0"], /got "0,0,0"/],
    [["--near", "0,,5"], /got "0,,5"/],
    [["--near", "0,0,Infinity"], /got "0,0,Infinity"/],
    [["--exclude", "Reykjavic"], /got "Reykjavic"; near it: Reykjavík/],
    [["--exclude", "Nowherexx"], /got "Nowherexx"; near it: Nowshera/],
    [["--exclude", "Qqqqqq"], /got "Qqqqqq"; no name is near it$/],
    [["--exclude", "?"], /^Give --exclude the name of a place, got "\?"/],
  ];
  for (const [args, message] of refusals) {
    await assert.rejects(() => rules(places, ...args), (error: Error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("near matches: equal ones alone, else the nearest first, those with the same beginning before others", () => {
  const near = (typed: string, ...candidates: string[]) =>
    closest(typed, candidates, (candidate) => [candidate]);
  assert.deepEqual(near("Ulm", "Elm", "ulm", "Ulme"), ["ulm"]);
  assert.deepEqual(near("abcdef", "xbcdef", "abcxyf", "abcdex", "abxxxf"), [
    "abcdex",
    "xbcdef",
    "abcxyf",
  ]);
  assert.deepEqual(near("abcdef", "abcxyz", "axxxxx"), ["abcxyz"]);
  assert.deepEqual(near("ab", "abc", "b", "ba", "cd"), ["abc", "b"]);
  assert.deepEqual(near("a", "b", "c", "d", "e", "f", "g").length, 5);
});
