/** Runs from the backend's own endpoints: a call for each part, and one for each finished run of a list that is shown. */

import { BffError, isObject } from "../errors.ts";
import type { Exchange, Wire } from "../http/request-context.ts";
import { isOver } from "../lib/run-status.ts";
import type {
  CompleteRun,
  CreatedRun,
  EquityPoint,
  ListedRun,
  ListOptions,
  Order,
  Part,
  PartReport,
  Run,
  RunMetrics,
  RunOptions,
  RunPage,
  RunQuery,
  RunRequest,
} from "../types.ts";
import { pooled } from "./concurrency.ts";
import { type Curve, curveOf, thinned } from "./equity.ts";
import { completed } from "./metrics.ts";
import { itemsOf, keyMetrics, malformed, metricsOf, ordersOf, runOf } from "./schema.ts";

const PARTS: readonly Part[] = ["metrics", "equity", "orders"];
const AT_ONCE = 6;
const NOT_FOUND = "RUN_NOT_FOUND";

export function path(id: string): string {
  return `/backtests/${encodeURIComponent(id)}`;
}

export async function listRuns(exchange: Exchange, query: RunQuery, shown?: ListOptions["shown"]): Promise<RunPage> {
  const since = performance.now();
  const answer = await exchange.get("/backtests", { limit: 20, offset: 0, order: "-created_at", ...query });
  if (!isObject(answer) || !Array.isArray(answer["items"])) throw malformed("the list of runs is an object with items");
  const { items, ...rest } = answer as { items: unknown[] };
  const { runs: listed, rejected } = itemsOf(items);
  const found = listed.map((item): ListedRun => ({ ...item, ...(knownOf(exchange, item) ?? SKIPPED_METRICS) }));
  const wanted = new Set((shown?.(found) ?? found).map(({ run_id: id }) => id));
  const runs = await pooled(found, AT_ONCE, async (run) => (wanted.has(run.run_id) ? withMetrics(exchange, run) : run));
  const metadata = {
    load_time_ms: performance.now() - since,
    backend_calls: exchange.requests,
    metrics_pending: 0,
    stale: false,
    partial_data: runs.some(({ metrics_state: state }) => state === "failed" || state === "timeout"),
    rejected,
  };
  return { items: runs, ...rest, metadata };
}

async function withMetrics(exchange: Exchange, run: ListedRun): Promise<ListedRun> {
  if (!isOver(run.status) || run.metrics_state === "ok") return run;
  const { value, report } = await part(exchange, `${path(run.run_id ?? "")}/metrics`, metricsOf);
  const had: Listed = {
    metrics: value && keyMetrics(value),
    metrics_state: report.state as ListedRun["metrics_state"],
  };
  if (had.metrics_state === "ok") remember(exchange, run, had);
  return { ...run, ...had };
}

type Listed = Pick<ListedRun, "metrics" | "metrics_state">;
const SKIPPED_METRICS: Listed = { metrics: null, metrics_state: "skipped" };
const MOST_KNOWN = 1000;

/** Metrics of finished runs, which do not change: lists are asked for again and again. */
const known = new WeakMap<Wire, Map<string, Listed>>();

function nameOf(
  { wire }: Exchange,
  { run_id, status, created_at, duration_ms }: Omit<ListedRun, keyof Listed>,
): string {
  return JSON.stringify([run_id, status, created_at, duration_ms, wire.headers()]);
}

function knownOf(exchange: Exchange, item: Omit<ListedRun, keyof Listed>): Listed | undefined {
  return known.get(exchange.wire)?.get(nameOf(exchange, item));
}

function remember(exchange: Exchange, run: ListedRun, had: Listed): void {
  const all = known.get(exchange.wire) ?? new Map<string, Listed>();
  known.set(exchange.wire, all.set(nameOf(exchange, run), had));
  const [oldest] = all.keys();
  if (all.size > MOST_KNOWN && oldest !== undefined) all.delete(oldest);
}

export async function createRun(exchange: Exchange, request: RunRequest, key: string): Promise<CreatedRun> {
  const headers = { "idempotency-key": key, "x-idempotency-key": key };
  return (await exchange.post("/backtests", request, headers)) as CreatedRun;
}

/** Return a run's detail. Raises BffError. */
export async function getDetail(exchange: Exchange, id: string): Promise<Run> {
  try {
    return runOf(await exchange.get(path(id), undefined, NOT_FOUND));
  } catch (error) {
    if (!(error instanceof BffError) || error.status !== 404) throw error;
    const { message, correlationId, details } = error;
    throw new BffError(NOT_FOUND, message, { status: 404, correlationId, details: { run_id: id, ...details } });
  }
}

export async function getRun(exchange: Exchange, id: string, options: RunOptions): Promise<CompleteRun> {
  const since = performance.now();
  const { include = PARTS, equityPoints = 2000 } = options;
  const get = <T>(name: Part, read: (answer: unknown) => T): Promise<Got<T>> =>
    include.includes(name) ? part(exchange, `${path(id)}/${name}`, read) : Promise.resolve(SKIPPED);
  const [run, metrics, curve, sent] = await Promise.all([
    getDetail(exchange, id),
    get("metrics", metricsOf),
    get("equity", curveOf),
    get("orders", (answer) => answer),
  ]);
  const orders = readOrders(sent, run.symbol);
  return assembled(run, { metrics, equity: curve, orders }, equityPoints, {
    ms: performance.now() - since,
    calls: exchange.requests,
  });
}

interface Got<T> {
  value: T | null;
  report: PartReport;
}

const SKIPPED: Got<never> = { value: null, report: { state: "skipped", age_ms: null, source: null } };

/** Return a part of a run, whatever became of it. An aborted call rejects. */
async function part<T>(exchange: Exchange, url: string, read: (answer: unknown) => T): Promise<Got<T>> {
  try {
    return { value: read(await exchange.get(url)), report: { state: "ok", age_ms: 0, source: "backend" } };
  } catch (error) {
    if (!(error instanceof BffError)) throw error;
    return lost(error);
  }
}

function lost(error: BffError): Got<never> {
  const { code, message, status } = error;
  const state =
    status === 404 || status === 410 ? "missing" : code === "TIMEOUT" || status === 504 ? "timeout" : "failed";
  return {
    value: null,
    report: { state, age_ms: 0, source: "backend", error: { code, message, ...(status && { status }) } },
  };
}

/** An order may leave out its symbol, which only the run's detail tells. */
function readOrders({ value, report }: Got<unknown>, symbol: string | null): Got<Order[]> {
  if (report.state !== "ok") return { value: null, report };
  try {
    return { value: ordersOf(value, symbol), report };
  } catch (error) {
    return lost(error as BffError);
  }
}

interface Parts {
  metrics: Got<RunMetrics>;
  equity: Got<Curve>;
  orders: Got<Order[]>;
}

function assembled(run: Run, parts: Parts, points: number, took: { ms: number; calls: number }): CompleteRun {
  const curve = parts.equity.value;
  const orders = parts.orders.value;
  let metrics = parts.metrics.value;
  let computed: string[] = [];
  if (metrics) [metrics, computed] = completed(metrics, curve?.points ?? null, orders);
  if (curve?.points.length && !curve.given) computed.push("equity.drawdown");
  const equity: EquityPoint[] | null = curve && thinned(curve, points, orders);
  const failed = PARTS.filter((name) => ["failed", "timeout"].includes(parts[name].report.state));
  const equityReport = curve?.rejected ? { ...parts.equity.report, rejected: curve.rejected } : parts.equity.report;
  return {
    run,
    metrics,
    equity,
    orders,
    metadata: {
      load_time_ms: took.ms,
      cache_hit: false,
      backend_calls: took.calls,
      data_sources: ["run", ...PARTS.filter((name) => parts[name].report.state === "ok")],
      partial_data: failed.length > 0,
      failed_sources: failed,
      stale: false,
      orders_count: orders?.length ?? null,
      equity_points: equity?.length ?? null,
      equity_source_points: curve?.points.length ?? null,
      computed,
      revision: [run.status, run.created_at, run.duration_ms].join(" "),
      parts: {
        run: { state: "ok", age_ms: 0, source: "backend" },
        metrics: parts.metrics.report,
        equity: equityReport,
        orders: parts.orders.report,
      },
    },
  };
}
