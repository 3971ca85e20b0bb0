/** Calls to the BFF: one request each, and responses that are returned as they are. */

import { pathWithQuery, type RequestContext } from "../http/request-context.ts";
import type {
  Chart,
  ChartQuery,
  CompleteRun,
  CreatedRun,
  ListOptions,
  RunOptions,
  RunPage,
  RunQuery,
  RunRequest,
  ViewQuery,
  WireChart,
} from "../types.ts";

/** The calls that both sides implement; all requests of one call go through its `RequestContext`. */
export interface Adapter {
  listRuns(context: RequestContext, query: RunQuery, shown?: ListOptions["shown"]): Promise<RunPage>;
  createRun(context: RequestContext, request: RunRequest, idempotencyKey: string): Promise<CreatedRun>;
  getRun(context: RequestContext, id: string, options: RunOptions): Promise<CompleteRun>;
  /** Legacy has no previews. */
  getChart(context: RequestContext, query: ChartQuery, onPreview?: (chart: Chart) => void): Promise<Chart>;
}

export const bff: Adapter = {
  listRuns: async (context, query) => (await context.get("/api/v1/runs", { ...query })) as RunPage,

  createRun: async (context, request, key) =>
    (await context.post("/api/v1/backtests", request, {
      "idempotency-key": key,
      "x-idempotency-key": key,
    })) as CreatedRun,

  getRun: async (context, id, options) => (await context.get(runPath(id, options))) as CompleteRun,

  getChart: async (context, query, onPreview) => {
    const early = onPreview && ((line: unknown) => onPreview(chartFromColumns(line as WireChart)));
    return chartFromColumns((await context.get(chartPath(query), undefined, undefined, early)) as WireChart);
  },
};

export function runPath(id: string, { include, equityPoints }: RunOptions): string {
  return pathWithQuery(`/api/v1/runs/${encodeURIComponent(id)}/complete`, {
    ...(include && {
      include_metrics: include.includes("metrics"),
      include_equity: include.includes("equity"),
      include_orders: include.includes("orders"),
    }),
    equity_points: equityPoints,
  });
}

export function chartPath(query: ChartQuery): string {
  return pathWithQuery("/api/v1/chart-data", {
    symbol: query.symbol,
    timeframe: query.timeframe,
    from_date: query.from,
    to_date: query.to,
    target_points: query.targetPoints,
    rth_only: query.rthOnly,
    format: "columns",
  });
}

export function viewPath(id: string, query: ViewQuery): string {
  return pathWithQuery(`/api/v1/runs/${encodeURIComponent(id)}/view`, {
    symbol: query.known?.symbol,
    timeframe: query.timeframe,
    target_points: query.targetPoints,
    from_date: query.from ?? query.known?.from.slice(0, 10),
    to_date: query.to ?? query.known?.to.slice(0, 10),
    rth_only: query.rthOnly,
    equity_points: query.equityPoints,
  });
}

export function chartFromColumns({
  t,
  o,
  h,
  l,
  c,
  v,
  symbol,
  timeframe,
  from_date,
  to_date,
  metadata,
}: WireChart): Chart {
  return { symbol, timeframe, from_date, to_date, columns: { t, o, h, l, c, v }, metadata };
}
