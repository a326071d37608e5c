/** Paths that are answered, which are the names of routes in logs and metrics. */

const PATHS = [
  "/v1/decode",
  "/v1/mask",
  "/healthz",
  "/readyz",
  "/metrics",
  "/openapi.json",
] as const;

/** A path that is answered. */
export type Path = typeof PATHS[number];

/** The path of a request's address if it is one that is answered, else `"other"`. */
export function routeName(url: string): Path | "other" {
  // With a malformed Host header there is no address.
  const pathname = URL.parse(url)?.pathname;
  return PATHS.find((path) => path === pathname) ?? "other";
}
