/** One spelling for what deployed versions of the backend call by different names; what has none is kept as `extra`. */

import { BffError, isObject } from "../errors.ts";
import type { ListedRun, Order, Run, RunMetrics } from "../types.ts";

type Json = Record<string, unknown>;

const STATUSES: Record<string, string> = {
  PENDING: "QUEUED",
  COMPLETED: "DONE",
  COMPLETE: "DONE",
  SUCCEEDED: "DONE",
  FAILED: "ERROR",
  CANCELED: "CANCELLED",
};
const RUN_NAMES: Record<string, string> = {
  id: "run_id",
  strategy: "strategy_id",
  dataset: "dataset_id",
  from: "run_from",
  to: "run_to",
  finished_at: "completed_at",
};
const ITEM_FIELDS = "run_id status strategy_id symbol created_at run_from run_to duration_ms".split(" ");
const RUN_FIELDS =
  "run_id status strategy_id symbol dataset_id created_at run_from run_to params seed speed slippage_fees duration_ms code_hash artifacts manifest started_at completed_at error_message".split(
    " ",
  );
const METRIC_NAMES: Record<string, string> = {
  sharpe: "sharpe_ratio",
  sortino: "sortino_ratio",
  hit_rate: "win_rate",
  annual_return: "cagr",
  annualized_return: "cagr",
  max_dd: "max_drawdown",
  trades: "total_trades",
  num_trades: "total_trades",
  trade_count: "total_trades",
};
const KEY_METRICS = "total_return cagr max_drawdown sharpe_ratio sortino_ratio win_rate total_trades".split(" ");
const METRIC_FIELDS = [
  ...KEY_METRICS,
  ..."avg_win avg_loss winning_trades losing_trades profit_factor avg_trade_return avg_winning_trade".split(" "),
  ..."avg_losing_trade largest_winner largest_loser turnover slippage_share fees_paid".split(" "),
];
const ORDER_NAMES: Record<string, string> = {
  id: "order_id",
  timestamp: "ts",
  ts_utc: "ts",
  time: "ts",
  qty: "quantity",
  type: "order_type",
  fee: "commission",
  fees: "commission",
};
const DATASET = /^(.+)-\d{4}-\d+[A-Za-z]+$/s;
const ORDER_FIELDS = "order_id ts symbol side quantity price order_type status commission".split(" ");

export function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

export function malformedResponse(what: string): BffError {
  return new BffError("BACKEND_UNAVAILABLE", `the backend's answer is not what it should be: ${what}`, { status: 502 });
}

export function readRun(detail: unknown): Run {
  if (!isObject(detail) || typeof detail["status"] !== "string")
    throw malformedResponse("a run is an object with a status");
  const run = renameFields(detail, RUN_NAMES, RUN_FIELDS);
  const status = String(run["status"]).trim().toUpperCase();
  run["status"] = STATUSES[status] ?? status;
  run["symbol"] ||= symbolOfDataset(run["dataset_id"]);
  return run as unknown as Run;
}

/** Return what stands before year and bar length (`BRK-B-2024-1m`), in another id what stands before the first `-`. */
function symbolOfDataset(dataset: unknown): string | null {
  if (typeof dataset !== "string") return null;
  return DATASET.exec(dataset)?.[1] ?? (dataset.split("-", 1)[0] || null);
}

/** Return a run of the list, without its metrics. */
type Item = Omit<ListedRun, "metrics" | "metrics_state">;

/** Return the runs of a list, and how many of its items are none. Raises BffError where no item is one. */
export function readListItems(items: unknown[]): { runs: Item[]; rejected: number } {
  const runs = items.flatMap((item) => {
    try {
      return [readListItem(item)];
    } catch {
      return []; // Counted below.
    }
  });
  if (items.length && !runs.length) throw malformedResponse("no item of the list is a run");
  return { runs, rejected: items.length - runs.length };
}

function readListItem(item: unknown): Item {
  const { extra, ...run } = readRun(item) as unknown as Json;
  const shown = Object.fromEntries(ITEM_FIELDS.map((name) => [name, run[name]]));
  const more = {
    ...Object.fromEntries(Object.entries(run).filter(([name, value]) => !(name in shown) && value !== null)),
    ...(extra as Json | undefined),
  };
  return { ...shown, ...(Object.keys(more).length && { extra: more }) } as Item;
}

export function readMetrics(answer: unknown): RunMetrics {
  if (!isObject(answer)) throw malformedResponse("metrics are an object");
  const values = Object.values(answer);
  if (values.length && !values.some((value) => value === null || isNumber(value))) {
    throw malformedResponse("metrics hold no number");
  }
  const metrics = renameFields(answer, METRIC_NAMES, METRIC_FIELDS);
  for (const name of METRIC_FIELDS) {
    if (metrics[name] === null || isNumber(metrics[name])) continue;
    metrics["extra"] = { ...(metrics["extra"] as Json | undefined), [name]: metrics[name] };
    metrics[name] = null;
  }
  return metrics as RunMetrics;
}

/** Return the metrics that the list of runs shows. */
export function keyMetrics(metrics: RunMetrics): Record<string, number> {
  return Object.fromEntries(KEY_METRICS.flatMap((name) => (isNumber(metrics[name]) ? [[name, metrics[name]]] : [])));
}

export function readOrders(answer: unknown, symbol: string | null): Order[] {
  const rows = isObject(answer) ? answer["orders"] : answer;
  if (!Array.isArray(rows) || !rows.every(isObject)) throw malformedResponse("orders are a list of objects");
  return rows.map((row) => {
    const order = renameFields(row, ORDER_NAMES, ORDER_FIELDS);
    order["symbol"] ||= symbol ?? order["symbol"];
    return order as unknown as Order;
  });
}

/** Return `source` under our names; a field's own name wins over another name for it, the loser is `extra`. */
function renameFields(source: Json, names: Record<string, string>, fields: string[]): Json {
  const known: Json = Object.fromEntries(fields.map((name) => [name, null]));
  const extra: Json = {};
  for (const [name, value] of Object.entries(source)) {
    const ours = names[name] ?? name;
    if (!(ours in known)) extra[name] = value;
    else if (known[ours] === null && (ours === name || source[ours] == null)) known[ours] = value;
    else if (value !== null) extra[name] = value;
  }
  return Object.keys(extra).length ? { ...known, extra } : known;
}
