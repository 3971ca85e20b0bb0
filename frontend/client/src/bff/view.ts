/** All that a run's page shows: in one request where the BFF answers, else put together from single calls. */

import { type Calls, chartPlan, type Plan, runPlan } from "../calls.ts";
import { BffError, errorIn, isObject } from "../errors.ts";
import type { operations } from "../generated/aggregator.ts";
import { Exchange, type Line } from "../http/request-context.ts";
import { type Offer, raced } from "../inflight-requests.ts";
import { isOver } from "../lib/run-status.ts";
import type { CallOptions, Chart, CompleteRun, RunHead, Side, View, ViewQuery } from "../types.ts";
import { chartOf, chartTarget, runTarget, viewTarget } from "./adapter.ts";

type ViewLine = operations["run_view"]["responses"]["200"]["content"]["application/x-ndjson"];
type Filled = Extract<ViewLine, { status: 200 }>;

const TARGET_POINTS = 2000;
const CALL = { call: "getView", group: "run_data" } as const;

/** Return a view at once; those who ask for the same share its request. */
export function getView(calls: Calls, id: string, wanted: ViewQuery, { signal }: CallOptions = {}): View {
  if (signal?.aborted) return failed(signal.reason);
  // A chart by itself has more points where none are asked for.
  const query = { ...wanted, targetPoints: wanted.targetPoints ?? TARGET_POINTS };
  const { flags } = calls.setting;
  const whole = flags.side("run_data") === "bff" && flags.side("chart_data") === "bff";
  const what = `${flags.side("chart_data")} ${viewTarget(id, query)}`;
  const begin = (landing: AbortSignal, offer: Offer): View => {
    const viewing = new Viewing(calls, id, query, landing, offer);
    if (!query.from !== !query.to) viewing.reject(halfWindow(query.from ? "to_date" : "from_date"));
    else if (whole) viewing.ask().catch((error: unknown) => viewing.reject(error));
    else viewing.compose();
    return viewing.view;
  };
  const { brings, leave } = calls.flights.board(calls.nameOf({ ...CALL, what }), begin, ended);
  const view: View = {
    head: raced(brings.head, signal),
    chart: raced(brings.chart, signal),
    run: raced(brings.run, signal),
  };
  void ended(view).then(leave);
  return view;
}

function failed(reason: unknown): View {
  const part: Promise<never> = Promise.reject(reason);
  part.catch(() => {});
  return { head: part, chart: part, run: part };
}

/** Resolve when each part is there or has failed; nobody else need hear of it then. */
function ended({ head, chart, run }: View): Promise<unknown> {
  return Promise.allSettled([head, chart, run]);
}

/** A part that is there some time, or has failed. */
class Slot<T> {
  readonly promise: Promise<T>;
  /** Whether it is known whence it comes: nothing else need be asked for it. */
  taken = false;
  #resolve: (value: T | Promise<T>) => void = () => {};

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  take(value: T | Promise<T>): void {
    this.taken = true;
    this.#resolve(value);
  }
}

/** Of what a run is. */
type Window = Record<"symbol" | "from" | "to", string | null>;
type Get = <T>(plan: Plan<T>) => Promise<T>;

class Viewing {
  readonly #calls: Calls;
  readonly #id: string;
  readonly #query: ViewQuery;
  readonly #signal: AbortSignal;
  readonly #offer: Offer;
  readonly #exchange: Exchange;
  readonly #since = performance.now();
  readonly #head = new Slot<RunHead>();
  readonly #chart = new Slot<Chart>();
  readonly #run = new Slot<CompleteRun>();
  readonly #slots = { head: this.#head, chart: this.#chart, run: this.#run };
  /** What the first of the parts that failed failed with. */
  #lost: BffError | undefined;

  constructor(calls: Calls, id: string, query: ViewQuery, signal: AbortSignal, offer: Offer) {
    this.#calls = calls;
    this.#id = id;
    this.#query = query;
    this.#signal = signal;
    this.#offer = offer;
    this.#exchange = new Exchange(calls.setting.wire, signal);
  }

  get view(): View {
    return { head: this.#head.promise, chart: this.#chart.promise, run: this.#run.promise };
  }

  get #isWhole(): boolean {
    return this.#head.taken && this.#chart.taken && this.#run.taken;
  }

  /** Put the view together from a run and a chart, which waits for the run only if it has to. */
  compose(get: Get = (plan) => this.#calls.shared(plan, this.#signal)): void {
    const run = get(this.#runPlan());
    this.#run.take(run);
    this.#head.take(run.then(headOf));
    this.#chart.take(this.#getChart(get));
  }

  /** Ask for the whole in one request; a run or a chart of the same may be had from it as well. */
  async ask(): Promise<void> {
    this.#offer(this.#calls.nameOf(this.#runPlan()), this.#run.promise);
    if (this.#query.known) this.#offerChart(this.#query.known);
    const absence = this.#calls.absence(CALL);
    if (absence) return this.#fallBack(absence);
    const failure = await this.#read();
    if (this.#signal.aborted) {
      this.reject(this.#signal.reason);
    } else if (this.#head.taken) {
      this.#report("bff", failure ?? this.#lost);
      const get: Get = (plan) => this.#calls.once(plan, this.#signal);
      if (!this.#run.taken) this.#run.take(get(this.#runPlan()));
      if (!this.#chart.taken) this.#chart.take(this.#getChart(get));
    } else if (failure?.code === "NOT_FOUND") {
      // No such resource, which is not the same as no such run: the BFF is from before there were views.
      this.compose((plan) => this.#calls.once(plan, this.#signal));
    } else if (this.#calls.fallsBack(failure)) {
      await this.#fallBack(failure);
    } else {
      this.#report("bff", failure);
      this.reject(failure);
    }
  }

  /** Let every part fail that is not there. */
  reject(error: unknown): void {
    const { head, chart, run } = failed(error);
    if (!this.#head.taken) this.#head.take(head);
    if (!this.#chart.taken) this.#chart.take(chart);
    if (!this.#run.taken) this.#run.take(run);
  }

  /** Take the parts as they come; return what kept any of them from coming. */
  async #read(): Promise<BffError | undefined> {
    let failure: BffError;
    try {
      const path = viewTarget(this.#id, this.#query);
      const correlationId = await this.#exchange.lines(path, (line) => this.#take(line));
      failure = new BffError("NETWORK", "the answer broke off", { correlationId });
    } catch (error) {
      failure = error as BffError;
    }
    const lost = this.#isWhole ? undefined : failure;
    this.#calls.heard("bff", lost);
    return lost;
  }

  /** Have legacy answer for the BFF, which failed before there was any part. */
  async #fallBack(failure: BffError): Promise<void> {
    const exchanges = [this.#exchange];
    this.compose((plan) => {
      const exchange = new Exchange(this.#calls.setting.wire, this.#signal);
      exchanges.push(exchange);
      return this.#calls.ask(plan, "legacy", exchange);
    });
    const parts = await Promise.allSettled([this.#run.promise, this.#chart.promise]);
    const lost = parts.find((part) => part.status === "rejected")?.reason;
    if (!this.#signal.aborted) this.#report("legacy", lost ?? failure, exchanges);
  }

  #take({ value, correlationId, keep }: Line): void {
    if (!isObject(value) || !isObject(value["body"])) {
      throw new BffError("MALFORMED", "a line of the answer is no part of a view", { correlationId });
    }
    const line = value as ViewLine;
    // Of a part that comes twice the first counts; what a later server adds is left alone.
    if (this.#slots[line.name]?.taken !== false) return;
    try {
      if (!isFilled(line)) throw errorIn(line.status, line.body, { id: correlationId });
      const path = this.#fill(line);
      if (path && "etag" in line && line.etag) keep(path, line.etag, line.body);
    } catch (error) {
      if (line.name === "head" || !(error instanceof BffError)) throw error;
      this.#lose(line.name, error);
    }
  }

  /** Fill in a part; return the path of the GET that would have answered with it alone. */
  #fill({ name, body }: Filled): string | undefined {
    const { check } = this.#calls.setting;
    if (name === "head") {
      check?.("RunStatus", body);
      this.#head.take(body);
      this.#offerChart(windowOf(body));
    } else if (name === "run") {
      check?.("CompleteRun", body);
      this.#run.take(body as CompleteRun);
      return runTarget(this.#id, this.#query);
    } else if (name === "chart") {
      const chart = chartOf(body);
      check?.("Chart", chart);
      this.#chart.take(chart);
      const { symbol, from_date: from, to_date: to } = chart;
      return chartTarget({ ...this.#query, symbol, from, to });
    }
    return undefined;
  }

  /** Have legacy answer for a part that the BFF failed with, or let it fail. */
  #lose(name: "chart" | "run", error: BffError): void {
    this.#lost ??= error;
    const get: Get = (plan) => this.#calls.once(plan, this.#signal, error);
    const mended = this.#calls.fallsBack(error);
    if (name === "run") this.#run.take(mended ? get(this.#runPlan()) : Promise.reject(error));
    else this.#chart.take(mended ? this.#getChart(get) : Promise.reject(error));
  }

  #runPlan(): Plan<CompleteRun> {
    return runPlan(this.#id, { equityPoints: this.#query.equityPoints });
  }

  #offerChart(window: Window): void {
    const plan = this.#chartPlan(window);
    if (plan) this.#offer(this.#calls.nameOf(plan), this.#chart.promise);
  }

  async #getChart(get: Get): Promise<Chart> {
    const plan = this.#chartPlan(this.#query.known ?? windowOf(await this.#head.promise));
    if (plan) return get(plan);
    const details = { run_id: this.#id };
    throw new BffError("DATASET_NOT_FOUND", "the run has no symbol or no window", { status: 404, details });
  }

  /** Return the plan of the view's chart, if the run has one. */
  #chartPlan(window: Window): Plan<Chart> | undefined {
    const { timeframe, targetPoints, rthOnly } = this.#query;
    const { symbol } = window;
    const from = this.#query.from ?? window.from?.slice(0, 10);
    const to = this.#query.to ?? window.to?.slice(0, 10);
    return symbol && from && to ? chartPlan({ symbol, timeframe, from, to, targetPoints, rthOnly }) : undefined;
  }

  #report(side: Side, error: BffError | undefined, exchanges = [this.#exchange]): void {
    this.#calls.report(CALL, { side, since: this.#since, exchanges, fallback: side === "legacy", error });
  }
}

function isFilled(line: ViewLine): line is Filled {
  return line.status === 200;
}

function windowOf({ symbol, run_from: from, run_to: to }: RunHead): Window {
  return { symbol, from, to };
}

/** Return what the light answer about a run would say of it. */
function headOf({ run, metadata }: CompleteRun): RunHead {
  const { run_id, status, symbol, strategy_id, created_at, run_from, run_to, duration_ms } = run;
  const told = run.extra?.["progress"];
  return {
    run_id,
    status,
    symbol,
    strategy_id,
    created_at,
    run_from,
    run_to,
    duration_ms,
    finished: isOver(status),
    progress: status === "DONE" ? 1 : typeof told === "number" ? told : null,
    revision: metadata.revision,
    stale: metadata.stale,
  };
}

function halfWindow(lacking: "from_date" | "to_date"): BffError {
  const fields = { [lacking]: "both ends of the window or neither" };
  return new BffError("VALIDATION", `invalid: ${lacking}`, { status: 422, details: { fields } });
}
