/** Addresses and causes without what may be secret. */

/** An address for messages: no user, password, query or fragment, which may hold credentials or signatures. */
export function safeUrl(address: string): string {
  if (!URL.canParse(address)) return "";
  const { protocol, host, pathname } = new URL(address);
  // The text behind "data:" is the data.
  return protocol === "data:" ? "data:" : `${protocol}//${host}${pathname}`;
}

/** What was to be an address, for messages: as much of it as holds no secret. */
export function safeText(address: string): string {
  return address.replace(/[?#].*$/s, "").replace(/\/\/.*@/s, "//");
}

const ADDRESS = /[a-z][a-z0-9+.-]*:\/\/[^\s"<>]+/gi;

/**
 * An error to give as a cause: where it or its own causes mention addresses, or say more than a message does, a copy
 * without that.
 */
export function safeCause(cause: unknown): unknown {
  if (typeof cause === "string") return cause.replace(ADDRESS, safeUrl);
  if (!(cause instanceof Error)) return typeof cause === "object" ? undefined : cause;
  const inner = safeCause(cause.cause);
  const message = cause.message.replace(ADDRESS, safeUrl);
  const isBare = Object.keys(cause).length === 0 && !(cause instanceof AggregateError);
  if (isBare && message === cause.message && inner === cause.cause) return cause;
  const copy = new Error(message, inner === undefined ? {} : { cause: inner });
  copy.name = cause.name;
  const { code } = cause as { code?: unknown };
  return typeof code === "string" ? Object.assign(copy, { code }) : copy;
}
