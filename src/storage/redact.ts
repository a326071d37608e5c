/** Addresses and causes without what may be secret. */

/** An address for messages: no user, password, query or fragment, which may hold credentials or signatures. */
export function safeUrl(address: string): string {
  if (!URL.canParse(address)) return "";
  const { protocol, host, pathname } = new URL(address);
  // The text behind "data:" is the data.
  return protocol === "data:" ? "data:" : `${protocol}//${host}${pathname}`;
}

const ADDRESS = /[a-z][a-z0-9+.-]*:\/\/[^\s"'<>()]+/gi;

/** An error to give as a cause: where it or its own causes mention addresses, a copy without their secrets. */
export function safeCause(cause: unknown): unknown {
  if (!(cause instanceof Error)) return cause;
  const inner = safeCause(cause.cause);
  const message = cause.message.replace(ADDRESS, safeUrl);
  if (message === cause.message && inner === cause.cause) return cause;
  const copy = new Error(message, inner === undefined ? {} : { cause: inner });
  copy.name = cause.name;
  return copy;
}
