/** The list of runs as filtered and sorted here. Pure. */

import type { ListedRun } from "bff-client";
import type { ListRoute, SortKey } from "../../lib/route.ts";

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

/** Return the runs of a page, or of the last one there is. */
export function pageOf(runs: readonly ListedRun[], page: number): readonly ListedRun[] {
  const end = Math.min(page, pagesOf(runs.length)) * PAGE_SIZE;
  return runs.slice(end - PAGE_SIZE, end);
}

const BY_RUN: readonly SortKey[] = ["created_at", "symbol", "status", "run_from"];

/** Return the runs whose metrics a list needs: those on its page, or all where the metrics decide which those are. */
export function readFor(runs: readonly ListedRun[], route: ListRoute): readonly ListedRun[] {
  const fitting = listed(runs, route);
  return BY_RUN.includes(route.sort) ? pageOf(fitting, route.page) : fitting;
}

/** Name the finished runs whose metrics nobody has asked for yet. */
export function lackingOf(runs: readonly ListedRun[]): string {
  const lacking = runs.filter(({ status, metrics_state: state }) => status === "DONE" && state === "skipped");
  return lacking.map(({ run_id: id }) => id).join(" ");
}
