/** How a call is made: which side it goes to, what happens when that side fails, and what is told about it. */

import { type Adapter, bff, chartTarget, runTarget } from "./bff/adapter.ts";
import type { SchemaName } from "./bff/validate.ts";
import { BffError, isBffFailure } from "./errors.ts";
import { Exchange, target, type Wire } from "./http/request-context.ts";
import { Flights } from "./inflight-requests.ts";
import type {
  CallName,
  Chart,
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

export type Legacy = typeof import("./legacy/index.ts");
let legacyCode: Promise<Legacy> | undefined;

/** Return the code of the legacy side. Raises BffError (NETWORK) where it cannot be loaded; the next call tries again. */
export function legacy(): Promise<Legacy> {
  legacyCode ??= import("./legacy/index.ts").catch((cause: unknown) => {
    legacyCode = undefined;
    throw new BffError("NETWORK", "the code for the legacy side cannot be loaded", { cause });
  });
  return legacyCode;
}

/** What is asked, in words that both sides understand. */
export interface Plan<T> {
  call: CallName;
  group: Group;
  schema?: SchemaName;
  ask(adapter: Adapter, exchange: Exchange): Promise<T>;
  /** What the answer is of; plans for the same thing share a flight. */
  what?: string;
}

export const listPlan = (query: RunQuery, shown?: ListOptions["shown"]): Plan<RunPage> => ({
  call: "listRuns",
  group: "run_data",
  schema: "RunPage",
  what: target("", query),
  ask: (adapter, exchange) => adapter.listRuns(exchange, query, shown),
});

export const runPlan = (id: string, options: Omit<RunOptions, "signal">): Plan<CompleteRun> => ({
  call: "getRun",
  group: "run_data",
  schema: "CompleteRun",
  what: runTarget(id, options),
  ask: (adapter, exchange) => adapter.getRun(exchange, id, options),
});

export const chartPlan = (query: ChartQuery): Plan<Chart> => ({
  call: "getChart",
  group: "chart_data",
  schema: "Chart",
  what: chartTarget(query),
  ask: (adapter, exchange) => adapter.getChart(exchange, query),
});

/** Runs are made by another service than the one that reads them. */
const isRead = ({ call }: Pick<Plan<unknown>, "call">): boolean => call !== "createRun";

interface Setting {
  wire: Wire;
  flags: FlagSource;
  /** Whether legacy may stand in for a BFF that fails. */
  fallback: boolean;
  check: Check | undefined;
  tell(report: Report): void;
}

export class Calls {
  readonly setting: Setting;
  readonly flights = new Flights();

  constructor(setting: Setting) {
    this.setting = setting;
  }

  /** Return what a plan asks for, shared with all who ask for the same. */
  async shared<T>(plan: Plan<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.flights.join(this.nameOf(plan), signal, (landing) => this.once(plan, landing));
  }

  /** Return the name of the flight that a plan would share. */
  nameOf({ call, group, what }: Pick<Plan<unknown>, "call" | "group" | "what">): string {
    const { flags, wire } = this.setting;
    return JSON.stringify([call, flags.side(group), what, wire.headers()]);
  }

  /** Return what a plan asks for, from legacy if the BFF fails, or has `failed` already. */
  async once<T>(plan: Plan<T>, signal: AbortSignal, failed?: BffError): Promise<T> {
    const { wire, flags } = this.setting;
    const since = performance.now();
    const exchange = new Exchange(wire, signal);
    let failure = failed ?? (flags.side(plan.group) === "bff" ? this.absence(plan) : undefined);
    let side: Side = failure ? "legacy" : flags.side(plan.group);
    const report = (error?: BffError): void =>
      this.report(plan, { side, since, exchanges: [exchange], fallback: failure !== undefined, error });
    try {
      let answer: T;
      try {
        answer = await this.ask(plan, side, exchange);
      } catch (error) {
        if (side === "legacy" || !this.fallsBack(error)) throw error;
        side = "legacy";
        failure = error;
        exchange.cache = undefined;
        answer = await this.ask(plan, side, exchange);
      }
      report(failure);
      return answer;
    } catch (error) {
      if (error instanceof BffError) report(error);
      throw error;
    }
  }

  /** Return what one side answers to a plan. */
  async ask<T>(plan: Plan<T>, side: Side, exchange: Exchange): Promise<T> {
    exchange.side = side;
    try {
      const answer = await plan.ask(side === "bff" ? bff : (await legacy()).legacy, exchange);
      if (isRead(plan)) this.heard(side);
      if (plan.schema) this.setting.check?.(plan.schema, answer);
      return answer;
    } catch (error) {
      if (isRead(plan)) this.heard(side, error);
      throw error;
    }
  }

  /** Return why a plan must not wait for the BFF: the service it would ask was silent, and has not been found again. */
  absence(plan: Pick<Plan<unknown>, "call">): BffError | undefined {
    return isRead(plan) ? this.setting.wire.presence?.failure : undefined;
  }

  /** Note how a read of a side went. */
  heard(side: Side, error?: unknown): void {
    const { presence } = this.setting.wire;
    if (error === undefined) {
      if (side === "bff") presence?.answered();
    } else if (error instanceof BffError) {
      if (side === "bff") presence?.failed(error);
      // Neither side can be reached: it is the way that is broken, and the BFF may be back as soon as the way is.
      else if (error.code === "NETWORK") presence?.forget();
    }
  }

  /** Tell whether it is the BFF (or the way to it) that failed, not the request, and legacy may stand in for it. */
  fallsBack(error: unknown): error is BffError {
    return this.setting.fallback && error instanceof BffError && isBffFailure(error);
  }

  report(
    { call, group }: Pick<Plan<unknown>, "call" | "group">,
    took: { side: Side; since: number; exchanges: Exchange[]; fallback?: boolean; error?: BffError | undefined },
  ): void {
    const { side, since, exchanges, fallback, error } = took;
    const cache = exchanges.find((exchange) => exchange.cache !== undefined)?.cache;
    this.setting.tell({
      call,
      group,
      side,
      requests: exchanges.reduce((sum, { requests }) => sum + requests, 0),
      bytes: exchanges.reduce((sum, { bytes }) => sum + bytes, 0),
      ms: performance.now() - since,
      ...(cache !== undefined && { cache }),
      ...(fallback && { fallback: true }),
      ...(error && { error: { code: error.code, correlationId: error.correlationId } }),
    });
  }
}
