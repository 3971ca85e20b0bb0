/** The list of runs as filtered and sorted here. Pure. */

import type { ListedRun } from "bff-client";
import { isListedMetric } from "../../lib/metrics.ts";
import type { ListRoute, SortKey } from "../../lib/route.ts";

export const PAGE_SIZE = 25;
export const pageCount = (runs: number) => Math.max(1, Math.ceil(runs / PAGE_SIZE));

function sortValue(run: ListedRun, key: SortKey): string | number | null {
  return isListedMetric(key) ? (run.metrics?.[key] ?? null) : run[key];
}

/** Compare values; what a run does not have comes last in either direction. */
function compare(one: string | number | null, other: string | number | null, descending: boolean): number {
  if (one === null || other === null) return Number(one === null) - Number(other === null);
  if (one === other) return 0;
  return one < other === descending ? 1 : -1;
}

/** Return the runs of a status, sorted; equals stay in the order of their creation. */
export function filterAndSort(runs: readonly ListedRun[], { status, sort, descending }: ListRoute): ListedRun[] {
  return runs
    .filter((run) => !status || run.status === status)
    .sort((one, other) => compare(sortValue(one, sort), sortValue(other, sort), descending));
}

/** Return the runs of a page, or of the last one there is. */
export function pageSlice(runs: readonly ListedRun[], page: number): readonly ListedRun[] {
  const end = Math.min(page, pageCount(runs.length)) * PAGE_SIZE;
  return runs.slice(end - PAGE_SIZE, end);
}

/** Return the runs whose metrics a list needs: those on its page, or all where the metrics decide which those are. */
export function runsNeedingMetrics(runs: readonly ListedRun[], route: ListRoute): readonly ListedRun[] {
  const fitting = filterAndSort(runs, route);
  return isListedMetric(route.sort) ? fitting : pageSlice(fitting, route.page);
}

/** Name the finished runs whose metrics nobody has asked for yet. */
export function missingMetrics(runs: readonly ListedRun[]): string {
  const lacking = runs.filter(({ status, metrics_state: state }) => status === "DONE" && state === "skipped");
  return lacking.map(({ run_id: id }) => id).join(" ");
}
