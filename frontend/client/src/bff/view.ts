/** Everything a run's page shows: one streamed request to the BFF, or assembled from single calls. */

import { type CallSpec, type Calls, chartSpec, runSpec } from "../calls.ts";
import { BffError, errorFromBody, isObject } from "../errors.ts";
import type { operations } from "../generated/aggregator.ts";
import { type Line, RequestContext } from "../http/request-context.ts";
import { abortable, type ShareAs } from "../inflight-requests.ts";
import { isOver } from "../lib/run-status.ts";
import type { Chart, ChartOptions, CompleteRun, RunHead, Side, View, ViewQuery } from "../types.ts";
import { chartFromColumns, chartPath, runPath, viewPath } from "./adapter.ts";

type ViewLine = operations["run_view"]["responses"]["200"]["content"]["application/x-ndjson"];
type SucceededLine = Extract<ViewLine, { status: 200 }>;

const TARGET_POINTS = 2000;
const CALL = { call: "getView", group: "run_data" } as const;

/** Return a view at once; concurrent callers of the same view share one request. */
export function getView(calls: Calls, id: string, wanted: ViewQuery, { signal, onPreview }: ChartOptions = {}): View {
  if (signal?.aborted) return failed(signal.reason);
  // A chart by itself has more points where none are asked for.
  const query = { ...wanted, targetPoints: wanted.targetPoints ?? TARGET_POINTS };
  const { flags } = calls.deps;
  const whole = flags.side("run_data") === "bff" && flags.side("chart_data") === "bff";
  const key = `${flags.side("chart_data")} ${viewPath(id, query)}`;
  const start = (shared: AbortSignal, shareAs: ShareAs): View => {
    const loader = new ViewLoader(calls, id, query, shared, shareAs, onPreview);
    if (!query.from !== !query.to) loader.reject(incompleteWindow(query.from ? "to_date" : "from_date"));
    else if (whole) loader.load().catch((error: unknown) => loader.reject(error));
    else loader.compose();
    return loader.view;
  };
  const { result, release } = calls.inflight.share(calls.requestKey({ ...CALL, key }), start, allSettled);
  const view: View = {
    head: abortable(result.head, signal),
    chart: abortable(result.chart, signal),
    run: abortable(result.run, signal),
  };
  void allSettled(view).then(release);
  return view;
}

function failed(reason: unknown): View {
  const part: Promise<never> = Promise.reject(reason);
  part.catch(() => {});
  return { head: part, chart: part, run: part };
}

/** Resolve once every part has settled. */
function allSettled({ head, chart, run }: View): Promise<unknown> {
  return Promise.allSettled([head, chart, run]);
}

/** A part that is resolved or rejected later. */
class PendingPart<T> {
  readonly promise: Promise<T>;
  /** Whether its source is decided, so that nothing else has to be requested for it. */
  isAssigned = false;
  #resolve: (value: T | Promise<T>) => void = () => {};

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  assign(value: T | Promise<T>): void {
    this.isAssigned = true;
    this.#resolve(value);
  }
}

/** The symbol and the window of a run. */
type Window = Record<"symbol" | "from" | "to", string | null>;
type Fetch = <T>(spec: CallSpec<T>) => Promise<T>;

class ViewLoader {
  readonly #calls: Calls;
  readonly #id: string;
  readonly #query: ViewQuery;
  readonly #signal: AbortSignal;
  readonly #shareAs: ShareAs;
  readonly #context: RequestContext;
  readonly #onPreview: ChartOptions["onPreview"];
  readonly #since = performance.now();
  readonly #head = new PendingPart<RunHead>();
  readonly #chart = new PendingPart<Chart>();
  readonly #run = new PendingPart<CompleteRun>();
  readonly #parts = { head: this.#head, chart: this.#chart, run: this.#run };
  /** The error of the first part that failed. */
  #firstError: BffError | undefined;

  constructor(
    calls: Calls,
    id: string,
    query: ViewQuery,
    signal: AbortSignal,
    shareAs: ShareAs,
    onPreview: ChartOptions["onPreview"],
  ) {
    this.#onPreview = onPreview;
    this.#calls = calls;
    this.#id = id;
    this.#query = query;
    this.#signal = signal;
    this.#shareAs = shareAs;
    this.#context = new RequestContext(calls.deps.http, signal);
  }

  get view(): View {
    return { head: this.#head.promise, chart: this.#chart.promise, run: this.#run.promise };
  }

  get #isComplete(): boolean {
    return this.#head.isAssigned && this.#chart.isAssigned && this.#run.isAssigned;
  }

  /** Assemble the view from single calls; the chart waits for the run only if the window is unknown. */
  compose(get: Fetch = (spec) => this.#calls.shared(spec, this.#signal)): void {
    const run = get(this.#runSpec());
    this.#run.assign(run);
    this.#head.assign(run.then(runHead));
    this.#chart.assign(this.#loadChart(get));
  }

  /** Request the whole view; callers of the same run or chart share the parts of it. */
  async load(): Promise<void> {
    this.#shareAs(this.#calls.requestKey(this.#runSpec()), this.#run.promise);
    if (this.#query.known) this.#shareChart(this.#query.known);
    const absence = this.#calls.unavailability(CALL);
    if (absence) return this.#fallBack(absence);
    const failure = await this.#read();
    if (this.#signal.aborted) {
      this.reject(this.#signal.reason);
    } else if (this.#head.isAssigned) {
      this.#report("bff", failure ?? this.#firstError);
      const get: Fetch = (spec) => this.#calls.once(spec, this.#signal);
      if (!this.#run.isAssigned) this.#run.assign(get(this.#runSpec()));
      if (!this.#chart.isAssigned) this.#chart.assign(this.#loadChart(get));
    } else if (failure?.code === "NOT_FOUND") {
      // No such resource, which is not the same as no such run: the BFF is from before there were views.
      this.compose((spec) => this.#calls.once(spec, this.#signal));
    } else if (this.#calls.fallsBack(failure)) {
      await this.#fallBack(failure);
    } else {
      this.#report("bff", failure);
      this.reject(failure);
    }
  }

  /** Reject every part that is not assigned yet. */
  reject(error: unknown): void {
    const { head, chart, run } = failed(error);
    if (!this.#head.isAssigned) this.#head.assign(head);
    if (!this.#chart.isAssigned) this.#chart.assign(chart);
    if (!this.#run.isAssigned) this.#run.assign(run);
  }

  /** Assign the parts as they arrive; return the error that kept any of them from arriving. */
  async #read(): Promise<BffError | undefined> {
    let failure: BffError;
    try {
      const path = viewPath(this.#id, this.#query);
      const correlationId = await this.#context.lines(path, (line) => this.#readLine(line));
      failure = new BffError("NETWORK", "the answer broke off", { correlationId });
    } catch (error) {
      failure = error as BffError;
    }
    const lost = this.#isComplete ? undefined : failure;
    this.#calls.recordOutcome("bff", lost);
    return lost;
  }

  /** Load the view from legacy: the BFF failed before it sent any part. */
  async #fallBack(failure: BffError): Promise<void> {
    const contexts = [this.#context];
    this.compose((spec) => {
      const context = new RequestContext(this.#calls.deps.http, this.#signal);
      contexts.push(context);
      return this.#calls.ask(spec, "legacy", context);
    });
    const parts = await Promise.allSettled([this.#run.promise, this.#chart.promise]);
    const lost = parts.find((part) => part.status === "rejected")?.reason;
    if (!this.#signal.aborted) this.#report("legacy", lost ?? failure, contexts);
  }

  #readLine({ value, correlationId, keep }: Line): void {
    if (!isObject(value) || !isObject(value["body"])) {
      throw new BffError("MALFORMED", "a line of the answer is no part of a view", { correlationId });
    }
    const line = value as ViewLine;
    if (line.name === "chart_preview") {
      if (!this.#chart.isAssigned) this.#onPreview?.(chartFromColumns(line.body));
      return;
    }
    // Of a part that comes twice the first counts; what a later server adds is left alone.
    if (this.#parts[line.name]?.isAssigned !== false) return;
    try {
      if (!isSucceeded(line)) throw errorFromBody(line.status, line.body, { id: correlationId });
      const path = this.#assignPart(line);
      if (path && "etag" in line && line.etag) keep(path, line.etag, line.body);
    } catch (error) {
      if (line.name === "head" || !(error instanceof BffError)) throw error;
      this.#partFailed(line.name, error);
    }
  }

  /** Assign a part; return the path of the GET that would have returned it alone. */
  #assignPart({ name, body }: SucceededLine): string | undefined {
    const { check } = this.#calls.deps;
    if (name === "head") {
      check?.("RunStatus", body);
      this.#head.assign(body);
      this.#shareChart(runWindow(body));
    } else if (name === "run") {
      check?.("CompleteRun", body);
      this.#run.assign(body as CompleteRun);
      return runPath(this.#id, this.#query);
    } else if (name === "chart") {
      const chart = chartFromColumns(body);
      check?.("Chart", chart);
      this.#chart.assign(chart);
      const { symbol, from_date: from, to_date: to } = chart;
      return chartPath({ ...this.#query, symbol, from, to });
    }
    return undefined;
  }

  /** Load a part that failed at the BFF from legacy, or reject it. */
  #partFailed(name: "chart" | "run", error: BffError): void {
    this.#firstError ??= error;
    const get: Fetch = (spec) => this.#calls.once(spec, this.#signal, error);
    const mended = this.#calls.fallsBack(error);
    if (name === "run") this.#run.assign(mended ? get(this.#runSpec()) : Promise.reject(error));
    else this.#chart.assign(mended ? this.#loadChart(get) : Promise.reject(error));
  }

  #runSpec(): CallSpec<CompleteRun> {
    return runSpec(this.#id, { equityPoints: this.#query.equityPoints });
  }

  #shareChart(window: Window): void {
    const spec = this.#chartSpec(window);
    if (spec) this.#shareAs(this.#calls.requestKey(spec), this.#chart.promise);
  }

  async #loadChart(get: Fetch): Promise<Chart> {
    const spec = this.#chartSpec(this.#query.known ?? runWindow(await this.#head.promise));
    if (spec) return get(spec);
    const details = { run_id: this.#id };
    throw new BffError("DATASET_NOT_FOUND", "the run has no symbol or no window", { status: 404, details });
  }

  /** Return the call for the view's chart; undefined if the run has no symbol or no window. */
  #chartSpec(window: Window): CallSpec<Chart> | undefined {
    const { timeframe, targetPoints, rthOnly } = this.#query;
    const { symbol } = window;
    const from = this.#query.from ?? window.from?.slice(0, 10);
    const to = this.#query.to ?? window.to?.slice(0, 10);
    return symbol && from && to
      ? chartSpec({ symbol, timeframe, from, to, targetPoints, rthOnly }, this.#onPreview)
      : undefined;
  }

  #report(side: Side, error: BffError | undefined, contexts = [this.#context]): void {
    this.#calls.report(CALL, { side, since: this.#since, contexts, fallback: side === "legacy", error });
  }
}

function isSucceeded(line: ViewLine): line is SucceededLine {
  return line.status === 200;
}

function runWindow({ symbol, run_from: from, run_to: to }: RunHead): Window {
  return { symbol, from, to };
}

/** Return the head of a run, as `GET /runs/{id}/status` would. */
function runHead({ run, metadata }: CompleteRun): RunHead {
  const { run_id, status, symbol, strategy_id, created_at, run_from, run_to, duration_ms } = run;
  const { started_at = null, completed_at = null, error_message = null } = run;
  const progress = run.extra?.["progress"];
  return {
    run_id,
    status,
    symbol,
    strategy_id,
    created_at,
    run_from,
    run_to,
    duration_ms,
    started_at,
    completed_at,
    error_message,
    finished: isOver(status),
    progress: status === "DONE" ? 1 : typeof progress === "number" ? progress : null,
    revision: metadata.revision,
    stale: metadata.stale,
  };
}

function incompleteWindow(lacking: "from_date" | "to_date"): BffError {
  const fields = { [lacking]: "both ends of the window or neither" };
  return new BffError("VALIDATION", `invalid: ${lacking}`, { status: 422, details: { fields } });
}
