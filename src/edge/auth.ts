/** Bearer tokens, compared in constant time. */
import { Refusal } from "./error_response.ts";

/** Lets in who brings one of the tokens. */
export class Auth {
  readonly #tokens: readonly string[];
  /** Digests of the tokens: made with the first request, since Workers do not digest before. */
  #digests: Uint8Array[] | undefined;

  constructor(tokens: readonly string[]) {
    this.#tokens = [...tokens];
  }

  /** @throws {Refusal} 401. */
  async check(request: Request): Promise<void> {
    const given = request.headers.get("authorization")?.match(/^bearer +(\S+) *$/i)?.[1];
    if (given === undefined) {
      const message = "This needs a bearer token: send Authorization: Bearer …";
      throw refused("missing-token", message, "Bearer");
    }
    const digests = this.#digests ??= await Promise.all(this.#tokens.map(digest));
    const actual = await digest(given);
    // All bytes of all tokens are looked at, whatever they hold.
    let isKnown = 0;
    for (const expected of digests) {
      let difference = 0;
      for (let i = 0; i < expected.length; i++) difference |= expected[i] ^ actual[i];
      isKnown |= Number(difference === 0);
    }
    if (!isKnown) {
      throw refused("wrong-token", "The bearer token is not known", 'Bearer error="invalid_token"');
    }
  }
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

function refused(code: string, message: string, challenge: string): Refusal {
  return new Refusal(401, code, message, {}, { "www-authenticate": challenge });
}
