/** Runs from the backend's own endpoints: a call for each part, and one for each finished run of a list that is shown. */

import { BffError, isObject } from "../errors.ts";
import type { HttpConfig, RequestContext } from "../http/request-context.ts";
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
import { mapConcurrently } from "./concurrency.ts";
import { downsample, type EquityCurve, readEquity } from "./equity.ts";
import { completeMetrics } from "./metrics.ts";
import { keyMetrics, malformedResponse, readListItems, readMetrics, readOrders, readRun } from "./schema.ts";

const PARTS: readonly Part[] = ["metrics", "equity", "orders"];
const MAX_CONCURRENT = 6;
const NOT_FOUND = "RUN_NOT_FOUND";

export function backtestPath(id: string): string {
  return `/backtests/${encodeURIComponent(id)}`;
}

export async function listRuns(
  context: RequestContext,
  query: RunQuery,
  shown?: ListOptions["shown"],
): Promise<RunPage> {
  const since = performance.now();
  const answer = await context.get("/backtests", { limit: 20, offset: 0, order: "-created_at", ...query });
  if (!isObject(answer) || !Array.isArray(answer["items"]))
    throw malformedResponse("the list of runs is an object with items");
  const { items, ...rest } = answer as { items: unknown[] };
  const { runs: listed, rejected } = readListItems(items);
  const found = listed.map((item): ListedRun => ({ ...item, ...(recallMetrics(context, item) ?? SKIPPED_METRICS) }));
  const wanted = new Set((shown?.(found) ?? found).map(({ run_id: id }) => id));
  const runs = await mapConcurrently(found, MAX_CONCURRENT, async (run) =>
    wanted.has(run.run_id) ? withMetrics(context, run) : run,
  );
  const metadata = {
    load_time_ms: performance.now() - since,
    backend_calls: context.requests,
    metrics_pending: 0,
    stale: false,
    partial_data: runs.some(({ metrics_state: state }) => state === "failed" || state === "timeout"),
    rejected,
  };
  return { items: runs, ...rest, metadata };
}

async function withMetrics(context: RequestContext, run: ListedRun): Promise<ListedRun> {
  if (!isOver(run.status) || run.metrics_state === "ok") return run;
  const { value, report } = await fetchPart(context, `${backtestPath(run.run_id ?? "")}/metrics`, readMetrics);
  const had: ListedMetrics = {
    metrics: value && keyMetrics(value),
    metrics_state: report.state as ListedRun["metrics_state"],
  };
  if (had.metrics_state === "ok") rememberMetrics(context, run, had);
  return { ...run, ...had };
}

type ListedMetrics = Pick<ListedRun, "metrics" | "metrics_state">;
const SKIPPED_METRICS: ListedMetrics = { metrics: null, metrics_state: "skipped" };
const MAX_KNOWN = 1000;

/** Metrics of finished runs, which do not change: lists are asked for again and again. */
const knownMetrics = new WeakMap<HttpConfig, Map<string, ListedMetrics>>();

function metricsKey(
  { http }: RequestContext,
  { run_id, status, created_at, duration_ms }: Omit<ListedRun, keyof ListedMetrics>,
): string {
  return JSON.stringify([run_id, status, created_at, duration_ms, http.headers()]);
}

function recallMetrics(context: RequestContext, item: Omit<ListedRun, keyof ListedMetrics>): ListedMetrics | undefined {
  return knownMetrics.get(context.http)?.get(metricsKey(context, item));
}

function rememberMetrics(context: RequestContext, run: ListedRun, had: ListedMetrics): void {
  const all = knownMetrics.get(context.http) ?? new Map<string, ListedMetrics>();
  knownMetrics.set(context.http, all.set(metricsKey(context, run), had));
  const [oldest] = all.keys();
  if (all.size > MAX_KNOWN && oldest !== undefined) all.delete(oldest);
}

export async function createRun(context: RequestContext, request: RunRequest, key: string): Promise<CreatedRun> {
  const headers = { "idempotency-key": key, "x-idempotency-key": key };
  return (await context.post("/backtests", request, headers)) as CreatedRun;
}

/** Return a run's detail. Raises BffError. */
export async function getDetail(context: RequestContext, id: string): Promise<Run> {
  try {
    return readRun(await context.get(backtestPath(id), undefined, NOT_FOUND));
  } catch (error) {
    if (!(error instanceof BffError) || error.status !== 404) throw error;
    const { message, correlationId, details } = error;
    throw new BffError(NOT_FOUND, message, { status: 404, correlationId, details: { run_id: id, ...details } });
  }
}

export async function getRun(context: RequestContext, id: string, options: RunOptions): Promise<CompleteRun> {
  const since = performance.now();
  const { include = PARTS, equityPoints = 2000 } = options;
  const get = <T>(name: Part, read: (answer: unknown) => T): Promise<PartResult<T>> =>
    include.includes(name) ? fetchPart(context, `${backtestPath(id)}/${name}`, read) : Promise.resolve(SKIPPED);
  const [run, metrics, curve, sent] = await Promise.all([
    getDetail(context, id),
    get("metrics", readMetrics),
    get("equity", readEquity),
    get("orders", (answer) => answer),
  ]);
  const orders = ordersPart(sent, run.symbol);
  return assembleRun(run, { metrics, equity: curve, orders }, equityPoints, {
    ms: performance.now() - since,
    calls: context.requests,
  });
}

interface PartResult<T> {
  value: T | null;
  report: PartReport;
}

const SKIPPED: PartResult<never> = { value: null, report: { state: "skipped", age_ms: null, source: null } };

/** Return a part of a run, whatever became of it. An aborted call rejects. */
async function fetchPart<T>(
  context: RequestContext,
  url: string,
  read: (answer: unknown) => T,
): Promise<PartResult<T>> {
  try {
    return { value: read(await context.get(url)), report: { state: "ok", age_ms: 0, source: "backend" } };
  } catch (error) {
    if (!(error instanceof BffError)) throw error;
    return failedPart(error);
  }
}

function failedPart(error: BffError): PartResult<never> {
  const { code, message, status } = error;
  const state =
    status === 404 || status === 410 ? "missing" : code === "TIMEOUT" || status === 504 ? "timeout" : "failed";
  return {
    value: null,
    report: { state, age_ms: 0, source: "backend", error: { code, message, ...(status && { status }) } },
  };
}

/** An order may leave out its symbol, which only the run's detail tells. */
function ordersPart({ value, report }: PartResult<unknown>, symbol: string | null): PartResult<Order[]> {
  if (report.state !== "ok") return { value: null, report };
  try {
    return { value: readOrders(value, symbol), report };
  } catch (error) {
    return failedPart(error as BffError);
  }
}

interface Parts {
  metrics: PartResult<RunMetrics>;
  equity: PartResult<EquityCurve>;
  orders: PartResult<Order[]>;
}

function assembleRun(run: Run, parts: Parts, points: number, took: { ms: number; calls: number }): CompleteRun {
  const curve = parts.equity.value;
  const orders = parts.orders.value;
  let metrics = parts.metrics.value;
  let computed: string[] = [];
  if (metrics) [metrics, computed] = completeMetrics(metrics, curve, orders);
  if (curve?.points.length && !curve.given) computed.push("equity.drawdown");
  const equity: EquityPoint[] | null = curve && downsample(curve, points, orders);
  const failed = PARTS.filter((name) => ["failed", "timeout"].includes(parts[name].report.state));
  const isPartial = failed.length > 0 || PARTS.some((name) => parts[name].report.state === "missing");
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
      partial_data: isPartial,
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
