/** The list of runs as filtered and sorted here. Pure. */

import type { ListedRun } from "bff-client";
import type { ListRoute, SortKey } from "./route.ts";

export const PAGE_SIZE = 25;
export const pagesOf = (runs: number) => Math.max(1, Math.ceil(runs / PAGE_SIZE));

function figureOf(run: ListedRun, key: SortKey): string | number | null {
  switch (key) {
    case "created_at":
    case "symbol":
    case "status":
    case "run_from":
      return run[key];
    default:
      return run.metrics?.[key] ?? null;
  }
}

/** Compare values; what a run does not have comes last in either direction. */
function compare(one: string | number | null, other: string | number | null, descending: boolean): number {
  if (one === null || other === null) return Number(one === null) - Number(other === null);
  if (one === other) return 0;
  return one < other === descending ? 1 : -1;
}

/** Return the runs of a status, sorted; equals stay in the order of their creation. */
export function listed(runs: readonly ListedRun[], { status, sort, descending }: ListRoute): ListedRun[] {
  return runs
    .filter((run) => !status || run.status === status)
    .sort((one, other) => compare(figureOf(one, sort), figureOf(other, sort), descending));
}
