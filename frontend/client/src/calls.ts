/** Makes a call: chooses its side, falls back where that fails, and reports what it took. */

import { type Adapter, bff, chartPath, runPath } from "./bff/adapter.ts";
import type { SchemaName } from "./bff/validate.ts";
import { BffError, isBffFailure } from "./errors.ts";
import { type HttpConfig, pathWithQuery, RequestContext } from "./http/request-context.ts";
import { InflightRequests } from "./inflight-requests.ts";
import type {
  CallName,
  Chart,
  ChartOptions,
  ChartQuery,
  CompleteRun,
  FlagSource,
  Group,
  ListOptions,
  Report,
  RunOptions,
  RunPage,
  RunQuery,
  Side,
} from "./types.ts";

export type Check = (schema: SchemaName, answer: unknown) => void;

export type LegacyModule = typeof import("./legacy/index.ts");
let legacyModule: Promise<LegacyModule> | undefined;

/** Return the code of the legacy side. Raises BffError (NETWORK) where it cannot be loaded; the next call tries again. */
export function loadLegacy(): Promise<LegacyModule> {
  legacyModule ??= import("./legacy/index.ts").catch((cause: unknown) => {
    legacyModule = undefined;
    throw new BffError("NETWORK", "the code for the legacy side cannot be loaded", { cause });
  });
  return legacyModule;
}

/** One call, in terms that both sides understand. */
export interface CallSpec<T> {
  call: CallName;
  group: Group;
  schema?: SchemaName;
  ask(adapter: Adapter, context: RequestContext): Promise<T>;
  /** Names what is asked for; calls with the same key share one request. */
  key?: string;
}

export const listSpec = (query: RunQuery, shown?: ListOptions["shown"]): CallSpec<RunPage> => ({
  call: "listRuns",
  group: "run_data",
  schema: "RunPage",
  key: pathWithQuery("", query),
  ask: (adapter, context) => adapter.listRuns(context, query, shown),
});

export const runSpec = (id: string, options: Omit<RunOptions, "signal">): CallSpec<CompleteRun> => ({
  call: "getRun",
  group: "run_data",
  schema: "CompleteRun",
  key: runPath(id, options),
  ask: (adapter, context) => adapter.getRun(context, id, options),
});

export const chartSpec = (query: ChartQuery, onPreview?: ChartOptions["onPreview"]): CallSpec<Chart> => ({
  call: "getChart",
  group: "chart_data",
  schema: "Chart",
  key: chartPath(query),
  ask: (adapter, context) => adapter.getChart(context, query, onPreview),
});

/** Runs are made by another service than the one that reads them. */
const isRead = ({ call }: Pick<CallSpec<unknown>, "call">): boolean => call !== "createRun";

interface CallDependencies {
  http: HttpConfig;
  flags: FlagSource;
  /** Whether legacy may stand in for a BFF that fails. */
  fallback: boolean;
  check: Check | undefined;
  emitReport(report: Report): void;
}

export class Calls {
  readonly deps: CallDependencies;
  readonly inflight = new InflightRequests();

  constructor(setting: CallDependencies) {
    this.deps = setting;
  }

  /** Make a call, shared with every caller of the same. */
  async shared<T>(spec: CallSpec<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.inflight.join(this.requestKey(spec), signal, (shared) => this.once(spec, shared));
  }

  /** Return the key under which a call is shared. */
  requestKey({ call, group, key: what }: Pick<CallSpec<unknown>, "call" | "group" | "key">): string {
    const { flags, http } = this.deps;
    return JSON.stringify([call, flags.side(group), what, http.headers()]);
  }

  /** Make a call; legacy answers if the BFF fails, or has `failed` already. */
  async once<T>(spec: CallSpec<T>, signal: AbortSignal, failed?: BffError): Promise<T> {
    const { http, flags } = this.deps;
    const since = performance.now();
    const context = new RequestContext(http, signal);
    let failure = failed ?? (flags.side(spec.group) === "bff" ? this.unavailability(spec) : undefined);
    let side: Side = failure ? "legacy" : flags.side(spec.group);
    const report = (error?: BffError): void =>
      this.report(spec, { side, since, contexts: [context], fallback: failure !== undefined, error });
    try {
      let answer: T;
      try {
        answer = await this.ask(spec, side, context);
      } catch (error) {
        if (side === "legacy" || !this.fallsBack(error)) throw error;
        side = "legacy";
        failure = error;
        context.cache = undefined;
        answer = await this.ask(spec, side, context);
      }
      report(failure);
      return answer;
    } catch (error) {
      if (error instanceof BffError) report(error);
      throw error;
    }
  }

  /** Make a call to one side. */
  async ask<T>(spec: CallSpec<T>, side: Side, context: RequestContext): Promise<T> {
    context.side = side;
    try {
      const answer = await spec.ask(side === "bff" ? bff : (await loadLegacy()).legacy, context);
      if (isRead(spec)) this.recordOutcome(side);
      if (spec.schema) this.deps.check?.(spec.schema, answer);
      return answer;
    } catch (error) {
      if (isRead(spec)) this.recordOutcome(side, error);
      throw error;
    }
  }

  /** Return why a call must not wait for the BFF: its service timed out, and no probe has reached it since. */
  unavailability(spec: Pick<CallSpec<unknown>, "call">): BffError | undefined {
    return isRead(spec) ? this.deps.http.availability?.failure : undefined;
  }

  /** Record whether a read of a side succeeded. */
  recordOutcome(side: Side, error?: unknown): void {
    const { availability: presence } = this.deps.http;
    if (error === undefined) {
      if (side === "bff") presence?.recordSuccess();
    } else if (error instanceof BffError) {
      if (side === "bff") presence?.recordFailure(error);
      // Neither side can be reached: it is the way that is broken, and the BFF may be back as soon as the way is.
      else if (error.code === "NETWORK") presence?.reset();
    }
  }

  /** Tell whether it is the BFF (or the way to it) that failed, not the request, and legacy may stand in for it. */
  fallsBack(error: unknown): error is BffError {
    return this.deps.fallback && error instanceof BffError && isBffFailure(error);
  }

  report(
    { call, group }: Pick<CallSpec<unknown>, "call" | "group">,
    took: { side: Side; since: number; contexts: RequestContext[]; fallback?: boolean; error?: BffError | undefined },
  ): void {
    const { side, since, contexts, fallback, error } = took;
    const cache = contexts.find((context) => context.cache !== undefined)?.cache;
    this.deps.emitReport({
      call,
      group,
      side,
      requests: contexts.reduce((sum, { requests }) => sum + requests, 0),
      bytes: contexts.reduce((sum, { bytes }) => sum + bytes, 0),
      ms: performance.now() - since,
      ...(cache !== undefined && { cache }),
      ...(fallback && { fallback: true }),
      ...(error && { error: { code: error.code, correlationId: error.correlationId } }),
    });
  }
}
