/** Addresses and causes without what may be secret. */

/**
 * An address, or what was to be one, for messages: no user, password, query or fragment, which may hold credentials or
 * signatures.
 */
export function redactUrl(address: string): string {
  if (!URL.canParse(address)) {
    // Between "@" and "?"; nothing where either may stand in a password or in a query.
    return address.match(/^(?:[^?#]*@)?([^@?#]*)(?:[?#][^@]*)?$/s)?.[1] ?? "";
  }
  const { protocol, host, pathname } = new URL(address);
  // A password with "#" or "?" ends the host; what follows other schemes may be one as a whole, or data.
  const isPlain = /^(?:https?|file):$/.test(protocol) && !/^[^/]*\/\/[^/]*[?#][^/]*@/.test(address);
  return isPlain ? `${protocol}//${host}${pathname}` : protocol;
}

const SECRETIVE = /[a-z][a-z0-9+.-]*:\/\/[^\s"<>]+|[?#][^\s"<>]+/gi;
/** Causes of causes; they may go round in circles. */
const DEEPEST = 8;

/**
 * An error to give as a cause: where it or its own causes mention addresses or queries, or say more than a message
 * does, a copy without that.
 */
export function redactCause(cause: unknown, depth = 0): unknown {
  if (typeof cause === "string") return cause.replace(SECRETIVE, redactUrl);
  if (!(cause instanceof Error)) return typeof cause === "object" ? undefined : cause;
  const inner = depth < DEEPEST ? redactCause(cause.cause, depth + 1) : undefined;
  const message = cause.message.replace(SECRETIVE, redactUrl);
  const isBare = Object.keys(cause).length === 0 && !(cause instanceof AggregateError);
  if (isBare && message === cause.message && inner === cause.cause) return cause;
  const copy = new Error(message, inner === undefined ? {} : { cause: inner });
  copy.name = cause.name;
  const { code } = cause as { code?: unknown };
  return typeof code === "string" ? Object.assign(copy, { code }) : copy;
}
