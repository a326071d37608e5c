/** Near matches for what was mistyped on the command line. */

import { fold } from "./fold.ts";

/** Most near matches that an error lists. */
const LISTED = 5;

/**
 * The candidates that are spelt most like `typed`, best first, at most five, and only equal ones if there are any.
 * None if more than half of the letters would have to change (but one always may), and only those of which at most a
 * third would, if there are any.
 *
 * @param spellings all ways to spell a candidate.
 */
export function closest<T>(
  typed: string,
  candidates: Iterable<T>,
  spellings: (candidate: T) => readonly string[],
): T[] {
  const wanted = fold(typed);
  const limit = Math.max(1, Math.floor(wanted.length / 2));
  const near: { candidate: T; distance: number; starts: boolean }[] = [];
  for (const candidate of candidates) {
    const folded = spellings(candidate).map(fold);
    const distance = Math.min(...folded.map((spelling) => editDistance(wanted, spelling, limit)));
    const starts = folded.some((spelling) => spelling[0] === wanted[0]);
    if (distance <= limit) near.push({ candidate, distance, starts });
  }
  near.sort((a, b) => a.distance - b.distance || Number(b.starts) - Number(a.starts));
  const nearest = near[0]?.distance ?? 0;
  const most = nearest === 0 ? 0 : Math.max(nearest, 1, Math.floor(wanted.length / 3));
  const best = near.filter(({ distance }) => distance <= most);
  return best.slice(0, LISTED).map(({ candidate }) => candidate);
}

/** Letters to insert, delete or replace; infinite where the lengths alone differ by more than `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return Infinity;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
