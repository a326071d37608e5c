/** Indexes from another origin than the page, whether it exposes its headers or hides them. */
import assert from "node:assert/strict";
import { ConstraintIndex } from "../../../mod.ts";

const STORE = new URLSearchParams(location.search).get("store")!;
const FILE = await (await fetch("/index")).bytes();

for (const headers of ["hidden", "exposed"]) {
  Deno.test(`An index of another origin whose headers are ${headers}`, async () => {
    const ranges: (string | null)[] = [];
    const fetchIt: typeof fetch = (input, init) => {
      ranges.push(new Headers(init?.headers).get("range"));
      return fetch(input, init);
    };
    const opens = async (name: string, parallel: number) => {
      ranges.length = 0;
      const url = `${STORE}/${headers}/${name}`;
      using index = await ConstraintIndex.open(url, { parallel, fetch: fetchIt });
      const bytes = index.toBytes();
      assert.ok(bytes.length === FILE.length && bytes.every((byte, i) => byte === FILE[i]), name);
    };
    await opens("plain", 1);
    assert.deepEqual(ranges, [null]);
    await opens("gzip", 1);
    // Who sees that it is compressed asks once more.
    assert.deepEqual(ranges, headers === "hidden" ? [null] : [null, null]);
    await opens("cut", 1);
    assert.equal(ranges.length, 2);
    assert.match(ranges[1]!, /^bytes=[1-9]\d*-$/);
    await opens("plain", 4);
    assert.ok(ranges.length > 2, `${ranges}`);
    assert.ok(ranges.every((range) => /^bytes=\d+-\d+$/.test(range!)), `${ranges}`);
    // The caller's own answer.
    using index = await ConstraintIndex.open(await fetch(`${STORE}/${headers}/gzip`));
    assert.equal(index.byteLength, FILE.length);
  });
}
