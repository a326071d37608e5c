/** What messages and causes show of addresses: nothing that may be secret. */
import assert from "node:assert/strict";
import { ConstraintIndex } from "../../mod.ts";
import { redactCause, redactUrl } from "../../src/storage/redact.ts";
import { s3Source } from "../../src/storage/s3/mod.ts";
import { failure } from "../heavy/storage/support/loading.ts";
import { assertNoSecret } from "../support/secrets.ts";

const SECRETS = ["hunter2", "ter2", "SIGNATURE"];

Deno.test("Of an address, scheme, host and path are shown, and of what is none, what follows the user", () => {
  const shown: Record<string, string> = {
    "https://store.example.com/a/index?X-Amz-Signature=SIGNATURE#hunter2":
      "https://store.example.com/a/index",
    "https://admin:hunter2@store.example.com:81/pkg@1.0/index":
      "https://store.example.com:81/pkg@1.0/index",
    "file:///a/b": "file:///a/b",
    "data:,hunter2": "data:",
    "admin:hunter2@store.example.com/index": "admin:",
    "s3://admin:hunter2@store.example.com/index": "s3:",
    "https://admin:hun#ter2@store.example.com/i": "",
    "https://admin:hun?ter2@store.example.com/i": "",
    "https://admin:12#ter2@store.example.com/i": "https:",
    "https://admin:hunter2@store.example.com:99999/i?sig=SIGNATURE": "store.example.com:99999/i",
    "https://store.example.com:99999/i?sig=SIGNATURE@x": "",
    "folder/index?sig=SIGNATURE": "folder/index",
    "hunter2@host": "host",
    "": "",
  };
  for (const [address, text] of Object.entries(shown)) assert.equal(redactUrl(address), text);
});

Deno.test("Addresses that make no sense are refused without what may be secret", async () => {
  for (
    const address of [
      "admin:hunter2@store.example.com/index",
      "https://admin:hun#ter2@store.example.com/i",
      "https://admin:hun?ter2@store.example.com/i",
      "https://admin:12#ter2@127.0.0.1:1/i",
    ]
  ) {
    assertNoSecret(await failure(address, { retries: 0 }), SECRETS);
  }
});

Deno.test("Causes hold neither queries nor users, however deep, and may go round in circles", async () => {
  const inner = new Error("GET /x?X-Amz-Signature=SIGNATURE failed");
  const cause = new TypeError("No way to https://a:hunter2@host/x#SIGNATURE", { cause: inner });
  const { message, cause: deeper } = redactCause(cause) as Error;
  assert.equal(message, "No way to https://host/x");
  assert.equal((deeper as Error).message, "GET /x failed");
  const plain = new Error("What now? Nothing #1", { cause: new Error("none") });
  assert.equal((redactCause(plain) as Error).message, "What now? Nothing ");

  const circle = new Error("/x?sig=SIGNATURE");
  circle.cause = new Error("https://host/?sig=SIGNATURE", { cause: circle });
  const error = await failure("http://host/x", {
    retries: 0,
    fetch: () => Promise.reject(circle),
  });
  assert.equal((error as { code?: string }).code, "fetch-failed");
  assertNoSecret(error, SECRETS);
});

Deno.test("A region or bucket that would spoil a header or an address is refused, unseen", async () => {
  const credentials = { accessKeyId: "AKIA", secretAccessKey: "hunter2", sessionToken: "hunter2" };
  const endpoint = "http://127.0.0.1:1";
  const location = { bucket: "b", key: "k", endpoint, credentials, env: () => undefined };
  for (const region of ["us-east-1\r", "us-east-1\nter2", "us-eäst", "a/hunter2", ""]) {
    for (const more of [{ region }, { env: () => region }]) {
      assert.throws(() => s3Source({ ...location, ...more }), (error) => {
        assertNoSecret(error, [...SECRETS, "AKIA"]);
        return error instanceof TypeError && error.message.includes("region");
      });
    }
  }
  assert.throws(() => s3Source({ ...location, bucket: "AKIA:hunter2@b" }), (error) => {
    assertNoSecret(error, [...SECRETS, "AKIA"]);
    return error instanceof TypeError;
  });
  // What is called so somewhere.
  for (const region of ["auto", "eu-central-1", "RegionOne"]) {
    await failure(s3Source({ ...location, region }), { retries: 0 });
  }
  await assert.rejects(ConstraintIndex.open(s3Source(location), { retries: 0 }));
});
