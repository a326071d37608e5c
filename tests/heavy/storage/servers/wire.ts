/** HTTP/1.1 as bytes on a socket: as much of it as a proxy needs that wants to get it wrong. */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** First line and header fields of a message. */
export interface Head {
  start: string;
  /** As they came: in order, names as written. */
  fields: [name: string, value: string][];
}

/** The value of a field, whatever the case of its name. */
export function field(head: Head, name: string): string | undefined {
  return head.fields.find(([other]) => other.toLowerCase() === name)?.[1];
}

/** Sets a field, or removes it. */
export function setField(head: Head, name: string, value?: string): void {
  head.fields = head.fields.filter(([other]) => other.toLowerCase() !== name);
  if (value !== undefined) head.fields.push([name, value]);
}

/** Connects to an `http:` origin. */
export async function dial({ hostname, port }: URL): Promise<Wire> {
  const socket = connect(Number(port || 80), hostname);
  await once(socket, "connect");
  return new Wire(socket);
}

/** A connection: messages can be read from it, and bytes written. Node's sockets, since they can reset. */
export class Wire implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(socket: Socket) {
    this.#socket = socket;
    // What fails is told to whoever reads or writes; unheard, the event would end the process.
    socket.on("error", () => {});
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  /** The next message, or nothing at the end. */
  async head(): Promise<Head | undefined> {
    const text = await this.#until("\r\n\r\n");
    if (text === undefined) return undefined;
    const [start, ...lines] = text.split("\r\n");
    const fields = lines.map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    return { start, fields };
  }

  /** The body that follows `head`. @throws {Error} if it ends early. */
  async *body(head: Head): AsyncGenerator<Uint8Array> {
    if (/chunked/i.test(field(head, "transfer-encoding") ?? "")) {
      for (let size; (size = parseInt(await this.#line(), 16)) > 0; await this.#line()) {
        yield* this.#exactly(size);
      }
      return;
    }
    const length = field(head, "content-length");
    if (length !== undefined) return yield* this.#exactly(Number(length));
    for (let bytes; (bytes = await this.#next());) yield bytes;
  }

  /** Waits until the peer has left. Bytes that it still sends are lost. */
  async left(): Promise<void> {
    try {
      while (await this.#next());
    } catch {
      // A reset is a way to leave.
    }
  }

  /** Done when the system has taken the bytes. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((done, fail) =>
      this.#socket.write(bytes, (error) => error ? fail(error) : done())
    );
  }

  writeHead({ start, fields }: Head): Promise<void> {
    const lines = [start, ...fields.map(([name, value]) => `${name}: ${value}`), "", ""];
    return this.write(Buffer.from(lines.join("\r\n"), "latin1"));
  }

  /** Closes; what has been written still arrives. */
  close(): Promise<void> {
    return this.#closed(() => this.#socket.destroySoon());
  }

  /** Closes with a reset. */
  reset(): Promise<void> {
    return this.#closed(() => this.#socket.resetAndDestroy());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.reset();
  }

  #closed(close: () => void): Promise<void> {
    return new Promise((done) => {
      if (this.#socket.closed) return done();
      this.#socket.once("close", () => done());
      close();
    });
  }

  async #next(): Promise<Uint8Array | undefined> {
    if (this.#rest.length > 0) {
      const rest = this.#rest;
      this.#rest = new Uint8Array();
      return rest;
    }
    const { done, value } = await this.#chunks.next();
    return done ? undefined : value;
  }

  async *#exactly(size: number): AsyncGenerator<Uint8Array> {
    while (size > 0) {
      const bytes = await this.#next();
      if (!bytes) throw new Error(`The body ends ${size} bytes early`);
      this.#rest = bytes.subarray(size);
      size -= Math.min(size, bytes.length);
      yield bytes.subarray(0, bytes.length - this.#rest.length);
    }
  }

  async #line(): Promise<string> {
    const line = await this.#until("\r\n");
    if (line === undefined) throw new Error("The body ends at a chunk");
    return line;
  }

  /** What comes before the mark, or nothing if the end comes before it. */
  async #until(mark: string): Promise<string | undefined> {
    for (let bytes = Buffer.alloc(0);;) {
      const end = bytes.indexOf(mark);
      if (end >= 0) {
        this.#rest = bytes.subarray(end + mark.length);
        return bytes.toString("latin1", 0, end);
      }
      const more = await this.#next();
      if (!more) return undefined;
      bytes = Buffer.concat([bytes, more]);
    }
  }
}
