/** Arguments that are addresses rather than paths, and how messages show them. */
import { redactUrl } from "../../storage/redact.ts";

/** Whether an argument is an address rather than a path. */
export function isAddress(argument: string): boolean {
  return /^(?:https?:|s3:|[a-z][a-z0-9+.-]*:\/\/)/i.test(argument);
}

/** Whether an argument means an object in S3. */
export function isS3(argument: string): boolean {
  return /^s3:/i.test(argument);
}

/** An argument as messages show it: addresses without user, password and query, which may be secret. */
export function shownName(argument: string): string {
  const isPublic = !isAddress(argument) || /^s3:\/\/[^/:@]+(?:\/|$)/i.test(argument);
  return isPublic ? argument : redactUrl(argument);
}
