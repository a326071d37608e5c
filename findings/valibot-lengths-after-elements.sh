#!/usr/bin/env bash
# valibot 1.5.0: a list that is too long is still read to its end, every element validated, before its length is.
#
# A schema such as pipe(array(number), maxLength(10)) reads like a bound on work: lists of more than ten are refused. The
# pipe runs in its order, and the array comes first. So a list of 500 000 numbers is refused only when all of them have
# been validated, and copied. `abortEarly` changes nothing, since no element is wrong. A service that takes such schemas
# for its bodies pays for the whole body before it says no. JSON Schema's maxItems has no such order, and validators of it
# are free to look at the length first.
#
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund valibot@1.5.0
cat >ask.mjs <<'JS'
import * as v from "valibot";

let looks = 0;
const number = v.pipe(v.number(), v.check(() => ++looks > 0));
const list = new Array(500_000).fill(1);
const ask = (schema) => {
  looks = 0;
  const { success, issues } = v.safeParse(schema, list, { abortEarly: true });
  return { success, issue: issues[0].type, looks };
};
const after = ask(v.pipe(v.array(number), v.maxLength(10)));
// What does bound the work: the length asked of anything, before the array is.
const before = ask(v.pipe(v.custom((x) => Array.isArray(x) && x.length <= 10), v.array(number)));
console.log("array, then maxLength:", JSON.stringify(after));
console.log("length first:         ", JSON.stringify(before));
process.exit(after.looks === 500_000 && after.issue === "max_length" && before.looks === 0 ? 0 : 1);
JS
node ask.mjs
# Output seen (valibot 1.5.0, Node 20):
#   array, then maxLength: {"success":false,"issue":"max_length","looks":500000}
#   length first:          {"success":false,"issue":"custom","looks":0}
