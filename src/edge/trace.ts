/** Where the time of a request goes: `Server-Timing`, and spans for OpenTelemetry where it is set up. */

interface Span {
  setAttribute(name: string, value: string | number): unknown;
  setStatus(status: { code: number }): unknown;
  end(): void;
}

interface Tracer {
  startActiveSpan<T>(
    name: string,
    options: { kind: number; attributes: Record<string, string | number> },
    run: (span: Span) => T,
  ): T;
}

/** Where `@opentelemetry/api` and Deno keep what is registered, for any version of the package. */
const API = Symbol.for("opentelemetry.js.api.1");
const INTERNAL = 0;
const ERROR = 2;

function tracer(): Tracer | undefined {
  try {
    const { trace } =
      (globalThis as { [API]?: { trace?: { getTracer(name: string): Tracer } } })[API] ?? {};
    return trace?.getTracer("espalier");
  } catch {
    return undefined;
  }
}

/** Times of one request. */
export class Trace {
  readonly #now: () => number;
  readonly #phases: string[] = [];
  readonly #tracer = tracer();
  #span: Span | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The whole of a request, with its status. */
  async whole(route: string, run: () => Promise<Response>): Promise<Response> {
    return await this.#inSpan(`espalier ${route}`, { "http.route": route }, async (span) => {
      this.#span = span;
      const response = await run();
      span?.setAttribute("http.response.status_code", response.status);
      if (response.status >= 500) span?.setStatus({ code: ERROR });
      return response;
    });
  }

  /** Something about the request. */
  note(name: string, value: string | number): void {
    this.#span?.setAttribute(`espalier.${name}`, value);
  }

  /** One part of it. */
  async phase<T>(name: string, run: () => T | Promise<T>): Promise<T> {
    const start = this.#now();
    try {
      return await this.#inSpan(`espalier.${name}`, {}, run);
    } finally {
      this.#phases.push(`${name};dur=${(this.#now() - start).toFixed(3)}`);
    }
  }

  /** Value of the header `Server-Timing`; empty where there is nothing to say. */
  header(): string {
    return this.#phases.join(", ");
  }

  async #inSpan<T>(
    name: string,
    attributes: Record<string, string | number>,
    run: (span?: Span) => T | Promise<T>,
  ): Promise<T> {
    if (!this.#tracer) return await run();
    return await this.#tracer.startActiveSpan(
      name,
      { kind: INTERNAL, attributes },
      async (span) => {
        try {
          return await run(span);
        } catch (error) {
          span.setStatus({ code: ERROR });
          throw error;
        } finally {
          span.end();
        }
      },
    );
  }
}
