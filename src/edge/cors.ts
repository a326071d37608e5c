/** Which sites may ask from a browser. */

/** Cross-origin requests. */
export interface CorsOptions {
  /** Origins that may ask, such as `"https://shop.example"`, or `"*"` for all. */
  origins: readonly string[] | "*";
  /** How long browsers may remember that, seconds. Default 86 400. */
  maxAgeSeconds?: number;
}

/** Headers that let a browser show an answer to a page; none for an origin that may not ask. */
export function corsHeaders(request: Request, { origins }: CorsOptions): Record<string, string> {
  const origin = request.headers.get("origin");
  const vary: Record<string, string> = origins === "*" ? {} : { vary: "Origin" };
  if (origin === null || origins !== "*" && !origins.includes(origin)) return vary;
  return {
    ...vary,
    "access-control-allow-origin": origins === "*" ? "*" : origin,
    "access-control-expose-headers": "Retry-After, Server-Timing, WWW-Authenticate",
  };
}

/** Whether a browser asks if a page may ask. */
export function isPreflight({ method, headers }: Request): boolean {
  return method === "OPTIONS" && headers.has("origin") &&
    headers.has("access-control-request-method");
}

/** The answer to that. */
export function preflight(request: Request, options: CorsOptions, methods: string): Response {
  const headers = corsHeaders(request, options);
  if ("access-control-allow-origin" in headers) {
    headers["access-control-allow-methods"] = methods;
    headers["access-control-allow-headers"] = "authorization, content-type, traceparent";
    headers["access-control-max-age"] = String(options.maxAgeSeconds ?? 86_400);
  }
  return new Response(null, { status: 204, headers });
}
