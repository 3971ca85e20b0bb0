/** The client: which side a call goes to, what happens when that side fails, and what is told about it. */

import { type Adapter, bff } from "./bff.ts";
import { BffFeed } from "./bfffeed.ts";
import { BffError } from "./errors.ts";
import { lateFeed } from "./feed.ts";
import { Flights } from "./flights.ts";
import { Exchange, makeWire, requestId } from "./http.ts";
import { type MakeFeed, PlayedRun } from "./stream.ts";
import type { CallName, Client, ClientOptions, Group, Report, Side } from "./types.ts";
import { type SchemaName, validate } from "./validate.ts";

/** Of Node, or what a bundler puts in its place; a page without a bundler has none. */
declare const process: { env: { NODE_ENV?: string } } | undefined;

const RETURN_MS = 5000;
const PROBE_MS = 3000;

type Legacy = typeof import("./legacy/index.ts");
let legacyCode: Promise<Legacy> | undefined;

/** Return the code of the legacy side. Raises BffError (NETWORK) where it cannot be loaded; the next call tries again. */
function legacy(): Promise<Legacy> {
  legacyCode ??= import("./legacy/index.ts").catch((cause: unknown) => {
    legacyCode = undefined;
    throw new BffError("NETWORK", "the code for the legacy side cannot be loaded", { cause });
  });
  return legacyCode;
}

async function adapterOf(side: Side): Promise<Adapter> {
  return side === "bff" ? bff : (await legacy()).legacy;
}

/** Return a client. It asks `flags` before each call; whoever made the flags starts and closes them. */
export function createClient(options: ClientOptions): Client {
  const { flags, fallback = true } = options;
  // Bundlers know this to be nothing in a production build, and drop the checks and their schemas.
  const check =
    typeof process === "undefined" || process.env.NODE_ENV === "production" || options.validate === false
      ? undefined
      : validate;
  const wire = makeWire(options);
  const flights = new Flights();
  const listeners = new Set<(report: Report) => void>();
  const streams = new Set<PlayedRun>();
  const feeds: Record<Side, MakeFeed> = {
    bff: (feed, epoch) => new BffFeed(feed, epoch, check),
    legacy: (feed) => {
      const make = ({ LegacyFeed, getDetail, isOver }: Legacy) => {
        const ask = async (id: string) => getDetail(new Exchange(wire, new AbortController().signal), id);
        return () => new LegacyFeed({ ...feed, isOver: async (id) => isOver((await ask(id)).status) });
      };
      return lateFeed(legacy().then(make), feed.host);
    },
  };
  // When the BFF is down it may be too late to ask for it; a failure here is told by the call that needs it.
  if (fallback) legacy().catch(() => {});
  if (options.onReport) listeners.add(options.onReport);
  const unsubscribe = flags.subscribe(() => {
    for (const stream of [...streams]) stream.choose();
  });

  /** Ask the relay for something small that it has itself. */
  async function isBack(): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      const init: RequestInit = { headers: wire.headers(), cache: "no-store", signal };
      const answer = await wire.fetch(`${wire.baseUrl}/api/v1/openapi/wsrelay.json`, init);
      await answer.body?.cancel();
      return answer.ok;
    } catch {
      return false;
    }
  }

  function tell(report: Report): void {
    for (const listener of [...listeners]) listener(report);
  }

  async function call<T>(
    name: CallName,
    group: Group,
    signal: AbortSignal,
    request: (adapter: Adapter, exchange: Exchange) => Promise<T>,
    schema?: SchemaName,
  ): Promise<T> {
    const ask = async (from: Side): Promise<T> => {
      const answer = await request(await adapterOf(from), exchange);
      if (check && schema) check(schema, answer);
      return answer;
    };
    const since = performance.now();
    const exchange = new Exchange(wire, signal);
    let side = flags.side(group);
    let failure: BffError | undefined;
    const report = (error?: BffError): void =>
      tell({
        call: name,
        group,
        side,
        requests: exchange.requests,
        bytes: exchange.bytes,
        ms: performance.now() - since,
        ...(exchange.cache !== undefined && { cache: exchange.cache }),
        ...(failure && { fallback: true }),
        ...(error && { error: { code: error.code, correlationId: error.correlationId } }),
      });
    try {
      let answer: T;
      try {
        answer = await ask(side);
      } catch (error) {
        if (side === "legacy" || !fallback || !(error instanceof BffError) || !isAway(error)) throw error;
        side = "legacy";
        failure = error;
        exchange.cache = undefined;
        answer = await ask(side);
      }
      report(failure);
      return answer;
    } catch (error) {
      if (error instanceof BffError) report(error);
      throw error;
    }
  }

  function shared<T>(
    name: CallName,
    group: Group,
    parameters: unknown,
    signal: AbortSignal | undefined,
    ask: (adapter: Adapter, exchange: Exchange) => Promise<T>,
    schema: SchemaName,
  ): Promise<T> {
    const key = JSON.stringify([name, flags.side(group), parameters, wire.headers()]);
    return flights.join(key, signal, (landing) => call(name, group, landing, ask, schema));
  }

  return {
    listRuns: (query = {}, { signal } = {}) =>
      shared("listRuns", "run_data", query, signal, (side, exchange) => side.listRuns(exchange, query), "RunPage"),

    // Both sides hand the key on to one backend, which makes the run once, so the call may be made again.
    createRun: (request, { signal, idempotencyKey = requestId() } = {}) =>
      call("createRun", "run_data", signal ?? new AbortController().signal, (side, exchange) =>
        side.createRun(exchange, request, idempotencyKey),
      ),

    getRun: (id, { signal, ...options } = {}) =>
      shared(
        "getRun",
        "run_data",
        [id, options],
        signal,
        (side, exchange) => side.getRun(exchange, id, options),
        "CompleteRun",
      ),

    getChart: (query, { signal } = {}) =>
      shared("getChart", "chart_data", query, signal, (side, exchange) => side.getChart(exchange, query), "Chart"),

    openStream: (id, streamOptions = {}) => {
      const stream = new PlayedRun(id, streamOptions, {
        baseUrl: wire.baseUrl,
        WebSocket: options.WebSocket ?? globalThis.WebSocket,
        side: () => flags.side("websocket"),
        fallback,
        feeds,
        returnMs: options.returnMs ?? RETURN_MS,
        isBack,
        opened: (side, ms, failed) =>
          tell({
            call: "openStream",
            group: "websocket",
            side,
            requests: 1,
            bytes: 0,
            ms,
            ...(failed && { fallback: true, error: { code: failed.code, correlationId: failed.correlationId } }),
          }),
        closed: (closed) => streams.delete(closed),
      });
      if (stream.state.connection !== "closed") streams.add(stream);
      return stream;
    },

    on: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    close: () => {
      unsubscribe();
      for (const stream of [...streams]) stream.close();
    },
  };
}

/** Tell whether it is the BFF (or the way to it) that failed, not the request. */
function isAway(error: BffError): boolean {
  return error.status === 0 || error.status >= 500;
}
