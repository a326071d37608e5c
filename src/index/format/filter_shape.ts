/** Named filters as the header describes them, and the sections that follow from it. */
import type { SectionSize } from "../bits/sections.ts";
import { eliasFanoSections, type EliasFanoShape, eliasFanoShape } from "../bits/elias_fano.ts";
import { isCount } from "./layout.ts";

/** Most named filters of an index. */
export const MAX_FILTERS = 1024;

/** Longest name of a filter. */
export const MAX_NAME_LENGTH = 200;

/** What the header says of a named filter. */
export interface FilterShape {
  name: string;
  /** Sequences that it allows. */
  ones: number;
  /** Whether bits are stored, or a list. */
  encoding: "bits" | "sparse";
  /** Whether the list holds what is not allowed. */
  inverted?: true;
  /** Shared entries that it allows; absent where it does not say, and so allows all those of its sequences. */
  entries?: number;
}

/** Whether a filter may have this name. */
export function isFilterName(name: unknown): boolean {
  return typeof name === "string" && name.length > 0 && name.length <= MAX_NAME_LENGTH &&
    name.isWellFormed() && !/\p{Cc}/u.test(name);
}

/** List of a sparse filter over `size` ordinals. */
export function listShape({ ones, inverted }: FilterShape, size: number): EliasFanoShape {
  return eliasFanoShape(inverted ? size - ones : ones, size);
}

/** Sections of the filter with number i over `size` ordinals and `shared` shared entries. */
export function filterSections(
  filter: FilterShape,
  i: number,
  size: number,
  shared: number,
): SectionSize[] {
  const ordinals: SectionSize[] = filter.encoding === "bits"
    ? [[`filter${i}.bits`, Math.ceil(size / 32)]]
    : eliasFanoSections(`filter${i}`, listShape(filter, size), false);
  if (filter.entries === undefined) return ordinals;
  return [...ordinals, [`filter${i}.entries`, Math.ceil(shared / 32)]];
}

/** Whether a header may say this of filters over `size` ordinals and `shared` shared entries. */
export function areSoundFilters(filters: FilterShape[], size: number, shared: number): boolean {
  if (!Array.isArray(filters) || !isCount(filters.length, 1, MAX_FILTERS)) return false;
  const isSound = (filter: FilterShape) =>
    typeof filter === "object" && filter !== null && isFilterName(filter.name) &&
    isCount(filter.ones, 0, size) &&
    (filter.entries === undefined || shared > 0 && isCount(filter.entries, 0, shared)) &&
    (filter.encoding === "sparse"
      ? filter.inverted === undefined || filter.inverted === true
      : filter.encoding === "bits" && filter.inverted === undefined);
  return filters.every(isSound) &&
    new Set(filters.map(({ name }) => name)).size === filters.length;
}
