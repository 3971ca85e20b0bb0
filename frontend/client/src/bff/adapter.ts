/** Calls to the BFF: one request each, and answers that need no work. */

import { type Exchange, target } from "../http/request-context.ts";
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

/** What both sides can do; a call's requests go through its own exchange. */
export interface Adapter {
  listRuns(exchange: Exchange, query: RunQuery, shown?: ListOptions["shown"]): Promise<RunPage>;
  createRun(exchange: Exchange, request: RunRequest, idempotencyKey: string): Promise<CreatedRun>;
  getRun(exchange: Exchange, id: string, options: RunOptions): Promise<CompleteRun>;
  getChart(exchange: Exchange, query: ChartQuery): Promise<Chart>;
}

export const bff: Adapter = {
  listRuns: async (exchange, query) => (await exchange.get("/api/v1/runs", { ...query })) as RunPage,

  createRun: async (exchange, request, key) =>
    (await exchange.post("/api/v1/backtests", request, {
      "idempotency-key": key,
      "x-idempotency-key": key,
    })) as CreatedRun,

  getRun: async (exchange, id, options) => (await exchange.get(runTarget(id, options))) as CompleteRun,

  getChart: async (exchange, query) => chartOf((await exchange.get(chartTarget(query))) as WireChart),
};

export function runTarget(id: string, { include, equityPoints }: RunOptions): string {
  return target(`/api/v1/runs/${encodeURIComponent(id)}/complete`, {
    ...(include && {
      include_metrics: include.includes("metrics"),
      include_equity: include.includes("equity"),
      include_orders: include.includes("orders"),
    }),
    equity_points: equityPoints,
  });
}

export function chartTarget(query: ChartQuery): string {
  return target("/api/v1/chart-data", {
    symbol: query.symbol,
    timeframe: query.timeframe,
    from_date: query.from,
    to_date: query.to,
    target_points: query.targetPoints,
    rth_only: query.rthOnly,
    format: "columns",
  });
}

export function viewTarget(id: string, query: ViewQuery): string {
  return target(`/api/v1/runs/${encodeURIComponent(id)}/view`, {
    symbol: query.known?.symbol,
    timeframe: query.timeframe,
    target_points: query.targetPoints,
    from_date: query.from ?? query.known?.from.slice(0, 10),
    to_date: query.to ?? query.known?.to.slice(0, 10),
    rth_only: query.rthOnly,
    equity_points: query.equityPoints,
  });
}

export function chartOf({ t, o, h, l, c, v, symbol, timeframe, from_date, to_date, metadata }: WireChart): Chart {
  return { symbol, timeframe, from_date, to_date, columns: { t, o, h, l, c, v }, metadata };
}
