/**
 * A process of many clients that send the body of a request byte by byte, for a while after the answer, too, and then begin
 * anew:
 * `slow_clients.ts <port> <clients> <milliseconds between bytes>`. Ends with its standard input, and then writes the
 * statuses that it was answered with, as JSON.
 */

const [port, clients, every] = Deno.args.map(Number);
const HEAD = "POST /v1/decode HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" +
  "content-length: 1000000\r\n\r\n";
/** Bytes that are sent after the answer. */
const MORE = 10;
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const statuses: Record<string, number> = {};

async function send(): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  let isOpen = true;
  let left = Infinity;
  (async () => {
    const answer = new Uint8Array(2 ** 12);
    for (let length; (length = await connection.read(answer)) !== null;) {
      const status = new TextDecoder().decode(answer.subarray(0, length))
        .match(/^HTTP\/1\.1 (\d+)/)?.[1];
      if (!status) continue;
      statuses[status] = (statuses[status] ?? 0) + 1;
      left = MORE;
    }
  })().catch(() => {}).finally(() => isOpen = false);
  await connection.write(new TextEncoder().encode(HEAD));
  while (isOpen && left-- > 0) {
    await connection.write(new Uint8Array([0x20]));
    await pause(every);
  }
}

async function client(i: number): Promise<void> {
  await pause((i * every) / clients);
  while (true) {
    await send().catch(() => {});
    await pause(every);
  }
}

for (let i = 0; i < clients; i++) client(i);
for await (const _ of Deno.stdin.readable) { /* until its end */ }
console.log(JSON.stringify(statuses));
Deno.exit();
