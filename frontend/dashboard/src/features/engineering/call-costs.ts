/** What each view cost over either side, as the client reports it call by call. Pure. */

export type Side = "bff" | "legacy";
export type View = "list" | "run" | "play";

/** As much of the client's report as is shown. */
export interface CallReport {
  call: string;
  side: Side;
  requests: number;
  bytes: number;
  ms: number;
  cache?: string | undefined;
  fallback?: boolean | undefined;
  error?: { code: string; correlationId: string | null } | undefined;
}

export interface Cost {
  calls: number;
  bytes: number;
  /** The longest call: those of a view run side by side, and the user waits for the last of them. */
  ms: number;
  cache: string;
  fallbacks: number;
  errors: number;
}

export type Costs = Record<View, Partial<Record<Side, Cost>>>;

export const NO_COSTS: Costs = { list: {}, run: {}, play: {} };
export const NO_COST: Cost = { calls: 0, bytes: 0, ms: 0, cache: "", fallbacks: 0, errors: 0 };

/** Add a report to what a view has cost so far. */
export function addReport(cost: Cost, report: CallReport): Cost {
  return {
    calls: cost.calls + report.requests,
    bytes: cost.bytes + report.bytes,
    ms: Math.max(cost.ms, report.ms),
    cache: report.cache || cost.cache,
    fallbacks: cost.fallbacks + (report.fallback ? 1 : 0),
    errors: cost.errors + (report.error ? 1 : 0),
  };
}

/** Return the costs with a report added to those of its view and side. */
export function addToView(costs: Costs, view: View, report: CallReport): Costs {
  return {
    ...costs,
    [view]: { ...costs[view], [report.side]: addReport(costs[view][report.side] ?? NO_COST, report) },
  };
}

/** Return how much less the BFF needs, as a share of what legacy needs; undefined where there is nothing to compare. */
export function reduction(legacy: number | undefined, bff: number | undefined): number | undefined {
  return legacy && bff !== undefined ? 1 - bff / legacy : undefined;
}
