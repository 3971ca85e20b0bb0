/** The client: one owner of the calls and of the streams, and of who is told about them. */

import { Presence } from "./bff/availability.ts";
import { validate } from "./bff/validate.ts";
import { getView } from "./bff/view.ts";
import { Calls, chartPlan, type Legacy, legacy, listPlan, runPlan } from "./calls.ts";
import { Exchange, makeWire, requestId } from "./http/request-context.ts";
import { tellAll } from "./lib/listeners.ts";
import { isOver } from "./lib/run-status.ts";
import { BffFeed } from "./stream/bff-feed.ts";
import { lateFeed } from "./stream/feed.ts";
import { type MakeFeed, PlayedRun } from "./stream/run-stream.ts";
import type { Client, ClientOptions, Report, Side } from "./types.ts";

/** Of Node, or what a bundler puts in its place; a page without a bundler has none. */
declare const process: { env: { NODE_ENV?: string } };

const RETURN_MS = 5000;
const PROBE_MS = 3000;

/** Return the checks of a development build. */
function checks(): typeof validate | undefined {
  try {
    // Bundlers know this to be false in a production build, and drop the checks and their schemas.
    if (process.env.NODE_ENV !== "production") return validate;
  } catch {
    // A page without a bundler.
  }
  return undefined;
}

/** Return a client. It asks `flags` before each call; whoever made the flags starts and closes them. */
export function createClient(options: ClientOptions): Client {
  const { flags, fallback = true, returnMs = RETURN_MS } = options;
  const check = options.validate === false ? undefined : checks();
  const wire = makeWire(options);
  const presence = fallback ? new Presence(() => answers("aggregator"), returnMs) : undefined;
  if (presence) wire.presence = presence;
  const listeners = new Set<(report: Report) => void>();
  const streams = new Set<PlayedRun>();
  const feeds: Record<Side, MakeFeed> = {
    bff: (feed, epoch) => new BffFeed(feed, epoch, check),
    legacy: (feed) => {
      const make = ({ LegacyFeed, getDetail }: Legacy) => {
        const ask = async (id: string) => getDetail(new Exchange(wire, new AbortController().signal, "legacy"), id);
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

  /** Ask a service for something small that it has itself. */
  async function answers(service: "aggregator" | "wsrelay"): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      const init: RequestInit = { headers: wire.headers(), cache: "no-store", signal };
      const answer = await wire.fetch(`${wire.baseUrl}/api/v1/openapi/${service}.json`, init);
      await answer.body?.cancel();
      return answer.ok;
    } catch {
      return false;
    }
  }

  const tell = (report: Report): void => tellAll(listeners, report);

  const calls = new Calls({ wire, flags, fallback, check, tell });

  return {
    listRuns: (query = {}, { signal, shown } = {}) => calls.shared(listPlan(query, shown), signal),

    // Both sides hand the key on to one backend, which makes the run once, so the call may be made again.
    createRun: (request, { signal, idempotencyKey = requestId() } = {}) =>
      calls.once(
        {
          call: "createRun",
          group: "run_data",
          ask: (side, exchange) => side.createRun(exchange, request, idempotencyKey),
        },
        signal ?? new AbortController().signal,
      ),

    getRun: (id, { signal, ...options } = {}) => calls.shared(runPlan(id, options), signal),

    getChart: (query, { signal } = {}) => calls.shared(chartPlan(query), signal),

    getView: (id, query, viewOptions) => getView(calls, id, query, viewOptions),

    openStream: (id, streamOptions = {}) => {
      const stream = new PlayedRun(id, streamOptions, {
        baseUrl: wire.baseUrl,
        WebSocket: options.WebSocket ?? globalThis.WebSocket,
        side: () => flags.side("websocket"),
        fallback,
        feeds,
        returnMs,
        isBack: () => answers("wsrelay"),
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
      presence?.close();
      for (const stream of [...streams]) stream.close();
    },
  };
}
