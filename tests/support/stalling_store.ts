/** An object store on loopback that stalls when told, and counts its connections. */

/** What the store does with those who ask: all bytes, no answer, the header and no more, or one byte now and then. */
export type Mood = "works" | "says nothing" | "stops after the header" | "trickles";

/** How often a byte trickles, milliseconds. */
const TRICKLE_MS = 10;

/** One object over plain TCP, without ranges: what a connection does is seen, and no pool keeps any. */
export class StallingStore implements AsyncDisposable {
  bytes: Uint8Array;
  mood: Mood = "works";
  /** Connections that are open. */
  open = 0;
  /** The most that were open at a time. */
  mostOpen = 0;
  /** Connections so far. */
  connections = 0;
  readonly url: string;
  readonly #listener: Deno.TcpListener;
  readonly #all: Promise<void>[] = [];

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.url = `http://127.0.0.1:${this.#listener.addr.port}/index.safetensors`;
    this.#all.push(this.#accept());
  }

  /** Takes no more, and waits until all others have hung up. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    while (this.#all.length > 0) await this.#all.pop();
  }

  async #accept(): Promise<void> {
    for await (const connection of this.#listener) this.#all.push(this.#serve(connection));
  }

  async #serve(connection: Deno.TcpConn): Promise<void> {
    this.connections++;
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    const over = new AbortController();
    // A request fits into one packet; after it nothing comes until the other end hangs up.
    const buffer = new Uint8Array(2 ** 14);
    await connection.read(buffer).catch(() => null);
    const answering = this.#answer(connection, over.signal).catch(() => {});
    if (this.mood === "works") await answering;
    else while (await connection.read(buffer).catch(() => null))/* it says more */ ;
    this.open--;
    over.abort();
    await answering;
    connection.close();
  }

  async #answer(connection: Deno.TcpConn, over: AbortSignal): Promise<void> {
    const { bytes, mood } = this;
    if (mood === "says nothing") return;
    const head = `HTTP/1.1 200 OK\r\ncontent-length: ${bytes.length}\r\nconnection: close\r\n\r\n`;
    const send = async (part: Uint8Array) => {
      while (part.length > 0) part = part.subarray(await connection.write(part));
    };
    await send(new TextEncoder().encode(head));
    if (mood === "works") return await send(bytes);
    const header = 8 + Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    await send(bytes.subarray(0, header));
    for (let at = header; mood === "trickles" && !over.aborted; at++) {
      await send(bytes.subarray(at, at + 1));
      await new Promise((resolve) => setTimeout(resolve, TRICKLE_MS));
    }
  }
}
