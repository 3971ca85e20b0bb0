/** Runs, charts and errors as the client hands them out. */

import { BffError, type Chart, type CompleteRun, type ListedRun, type PartState, type RunPage } from "bff-client";

const NAMES = {
  symbol: "AAPL",
  strategy_id: "sma_crossover",
  created_at: "2024-03-01T15:00:00Z",
  run_from: "2024-01-02",
  run_to: "2024-01-31",
  duration_ms: 1000,
};

export function listedRun(id: string, rest: Partial<ListedRun> = {}): ListedRun {
  const metrics = { total_return: 0.1, sharpe_ratio: 1.5, max_drawdown: 0.04, win_rate: 0.5 };
  return { run_id: id, status: "DONE", ...NAMES, metrics, metrics_state: "ok", ...rest };
}

export function page(items: ListedRun[], metadata: Partial<RunPage["metadata"]> = {}): RunPage {
  return {
    items,
    total: items.length,
    limit: 100,
    offset: 0,
    metadata: {
      load_time_ms: 1,
      backend_calls: 1,
      metrics_pending: 0,
      stale: false,
      partial_data: false,
      rejected: 0,
      ...metadata,
    },
  };
}

const part = (state: PartState) => ({ state, age_ms: 0, source: "backend" as const });

interface Parts {
  run?: PartState;
  metrics?: PartState;
  equity?: PartState;
  orders?: PartState;
}

/** A run with three metrics, three points of equity and two orders; a part that is not `ok` is null. */
export function completeRun(id: string, parts: Parts = {}, rest: Partial<CompleteRun["run"]> = {}): CompleteRun {
  const { run = "ok", metrics = "ok", equity = "ok", orders = "ok" } = parts;
  const order = { symbol: "AAPL", order_type: "MARKET", status: "FILLED", commission: 0.5 };
  return {
    run: { run_id: id, status: "DONE", ...NAMES, params: { fast: 20 }, seed: 42, ...rest },
    metrics: metrics === "ok" ? { total_return: 0.05, sharpe_ratio: 1.25, total_trades: 7 } : null,
    equity:
      equity === "ok"
        ? [1000, 900, 1050].map((value, index) => ({ ts: `2024-01-0${index + 2}T15:00:00Z`, value, drawdown: null }))
        : null,
    orders:
      orders === "ok"
        ? [
            { order_id: "1", ts: "2024-01-02T15:00:00Z", side: "BUY", quantity: 100, price: 10, ...order },
            { order_id: "2", ts: "2024-01-03T15:00:00Z", side: "SELL", quantity: 100, price: 11, ...order },
          ]
        : null,
    metadata: {
      parts: { run: part(run), metrics: part(metrics), equity: part(equity), orders: part(orders) },
      computed: ["sharpe_ratio"],
      orders_count: orders === "ok" ? 2 : null,
      equity_source_points: 3,
      partial_data: false,
      failed_sources: [],
      revision: "1",
      stale: false,
    },
  } as unknown as CompleteRun;
}

export function chart(metadata: Partial<Chart["metadata"]> = {}): Chart {
  const t = [2, 3, 4].map((day) => Date.UTC(2024, 0, day) / 1000);
  return {
    symbol: "AAPL",
    timeframe: "1D",
    from_date: "2024-01-02",
    to_date: "2024-01-31",
    columns: { t, o: [1, 2, 3], h: [2, 3, 4], l: [1, 1, 2], c: [2, 3, 4], v: [10, 10, 10] },
    metadata: {
      total_bars: 3,
      source_bars: 3,
      source_timeframe: "1D",
      decimated: false,
      decimation_stride: 390,
      stale: false,
      ...metadata,
    },
  } as Chart;
}

/** An error that is not tried again by itself. */
export const defect = (message: string) => new BffError("INTERNAL", message, { status: 500, correlationId: "id-7" });
