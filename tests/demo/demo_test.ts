import assert from "node:assert/strict";

/** Runs `deno task demo` as a user does, its output not being a terminal. */
async function demo(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "demo", ...args],
    cwd: new URL("../..", import.meta.url),
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

/** The line of the best existing place below a query's title. */
function best(out: string, query: string): string {
  const lines = out.split("\n");
  return lines[lines.indexOf(query) + 2];
}

Deno.test("the demo finds the places that were meant", async () => {
  const { code, out, err } = await demo();
  assert.equal(code, 0, err);
  assert.match(best(out, "Sao Paolo"), /^ 1 São Paulo +-\d+\.\d\d +BR -23\.55,-46\.64; /);
  assert.match(best(out, "Sant Petersburg"), /^ 1 Saint Petersburg +-\d+\.\d\d +RU 59\.94,30\.31 /);
  // Of several spellings of a name the one nearest to the query comes first.
  assert.match(best(out, "Los Angelos"), /^ 1 Los Angeles .*US 34\.05,-118\.24/);
  assert.match(best(out, "Reykjavic"), /^ 1 Reykjavík /);
  assert.match(best(out, "Fontainbleau"), /^ 1 Fontainebleau° .*FR 48\.41,2\.70/);
  assert.match(best(out, "Buenos Aries"), /^ 1 Buenos Aires /);
  assert.match(best(out, "Marakesh"), /^ 1 Marrakesh /);
  assert.match(best(out, "Duesseldorf"), /^ 1 Düsseldorf /);
  assert.match(out, /; \+7: seven more places of that name\..*\n.*by country, because the data/);
  // Left alone, the model mostly spells what it was given, and that does not exist.
  assert.match(best(out, "Los Angelos"), / los angelos +-\d+\.\d\d ✗$/);
  assert.match(best(out, "Duesseldorf"), / dusseldorf +-\d+\.\d\d ✓$/);
  // It ends with a filter under which the answer is another.
  assert.match(out, /^ in AT \(Austria\) +2 228 names +of 149 462, compiled in [\d. ]+ ms$/m);
  assert.match(
    best(out, "Vianna"),
    /^ 1 Vienna +-\d+\.\d\d +AT 48\.21,16\.37 +Viana +-\d+\.\d\d ✗$/,
  );
  assert.match(out, /^171 075 places with 150 634 names/);
  const size = Number(/^ index +([\d ]+) bytes$/m.exec(out)?.[1].replaceAll(" ", ""));
  const perName = Number(/^ per name +([\d.]+) bytes/m.exec(out)?.[1]);
  assert.ok(Math.abs(size / 149_462 - perName) < 0.01);
  assert.ok(perName < 8, `${perName} bytes per name`);
  assert.match(out, /^ search +[\d. ]+ ms +median of 8, 64 beams$/m);
  assert.ok(!out.includes("\x1b"), "no colours outside a terminal");
  assert.doesNotMatch(out + err, /onnxruntime:|\[W:/, "no warnings of onnxruntime-web");
});

Deno.test("the demo takes any query and any number of beams", async () => {
  const { code, out, err } = await demo("--beams", "3", "Bogota", "\tSankt", "中z");
  assert.equal(code, 0, err);
  assert.match(best(out, "Bogota"), /^ 1 Bogota .*US 40\.88,-74\.03; CO 4\.61,-74\.08 Bogotá /);
  // What would move the cursor is taken away.
  assert.match(best(out, "Sankt"), /^ 1 \S+.* [A-Z]{2} -?\d/);
  assert.match(best(out, "中z"), /^ 1 \S+.* [A-Z]{2} -?\d/);
  assert.match(out, /median of 3, 3 beams/);
});

Deno.test("the demo explains itself and wrong arguments", async () => {
  const help = await demo("--help");
  assert.equal(help.code, 0);
  assert.match(help.out, /Usage: deno task demo \[options\] \[query …\]/);
  const beams = await demo("--beams", "0");
  assert.equal(beams.code, 2);
  assert.match(beams.err, /Give --beams a whole number from 1 to 1024, got "0"/);
  const query = await demo("?!");
  assert.equal(query.code, 2);
  assert.match(query.err, /error: Give a query with at least one Latin letter.*got "\?!"/);
  const long = await demo("a".repeat(101));
  assert.equal(long.code, 2);
  assert.match(long.err, /at most 100 characters, got one of 101/);
  const unknown = await demo("--colour");
  assert.equal(unknown.code, 2);
  assert.match(unknown.err, /Unknown option '--colour'/);
});

Deno.test("the demo tells what its filters allow, lists their codes, and says when nothing is left", async () => {
  const filtered = await demo(
    "--country",
    "fr",
    "--not-country",
    "US",
    "--exclude",
    "paris",
    "Parris",
  );
  assert.equal(filtered.code, 0, filtered.err);
  assert.match(
    filtered.out,
    /^ in FR \(France\) +8 784 names\n not in US .+\n other than Paris +149 461 names\n together +8 783 names +of 149 462, compiled/m,
  );
  assert.match(filtered.out, /^ +places that pass .* without the filter +score$/m);
  const countries = await demo("--list-countries");
  assert.equal(countries.code, 0, countries.err);
  assert.match(countries.out, /^ FR +[\d ]+ +France$/m);
  const states = await demo("--list-admin1", "us");
  assert.match(states.out, /^ US\.TX +[\d ]+ +Texas$/m);
  assert.ok(states.out.trimEnd().split("\n").slice(1).every((line) => line.startsWith(" US.")));
  const none = await demo("--country", "FR", "--near", "33,-95,400", "Parris");
  assert.equal(none.code, 1);
  assert.match(
    none.err,
    /^error: No place passes all filters: in FR .*\n {2}code nothing-allowed$/m,
  );
});
