/** Answers of a server that cannot pass a request on. */

/** 503 as the handler's own are: `application/problem+json`, to be asked again after a second. */
export function unavailable(
  code: string,
  detail: string,
  headers: Record<string, string> = {},
): Response {
  const problem = { type: "about:blank", title: "Service Unavailable", status: 503, detail, code };
  return new Response(JSON.stringify(problem), {
    status: 503,
    headers: { "content-type": "application/problem+json", "retry-after": "1", ...headers },
  });
}
