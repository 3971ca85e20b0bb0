/** The client: owns the calls, the streams and the listeners of their reports. */

import { Availability } from "./bff/availability.ts";
import { validate } from "./bff/validate.ts";
import { getView } from "./bff/view.ts";
import { Calls, chartSpec, type LegacyModule, listSpec, loadLegacy, runSpec } from "./calls.ts";
import { makeHttpConfig, RequestContext } from "./http/request-context.ts";
import { Emitter } from "./lib/observable.ts";
import { randomId } from "./lib/random-id.ts";
import { isOver } from "./lib/run-status.ts";
import { BffFeed } from "./stream/bff-feed.ts";
import { deferredFeed } from "./stream/feed.ts";
import { type MakeFeed, SwitchingStream } from "./stream/switching-stream.ts";
import type { Client, ClientOptions, Report, Side } from "./types.ts";

/** Of Node, or what a bundler puts in its place; a page without a bundler has none. */
declare const process: { env: { NODE_ENV?: string } };

const RETURN_MS = 5000;
const PROBE_MS = 3000;

/** Return the schema checks in a development build, undefined in production. */
function checks(): typeof validate | undefined {
  try {
    // Bundlers know this to be false in a production build, and drop the checks and their schemas.
    if (process.env.NODE_ENV !== "production") return validate;
  } catch {
    // A page without a bundler.
  }
  return undefined;
}

/**
 * Create a client. It consults `options.flags` before each call.
 *
 * @returns a client whose owner calls `close()`; whoever made the flags starts and closes those.
 */
export function createClient(options: ClientOptions): Client {
  const { flags, fallback = true, returnMs = RETURN_MS } = options;
  const check = options.validate === false ? undefined : checks();
  const http = makeHttpConfig(options);
  const presence = fallback ? new Availability(() => answers("aggregator"), returnMs) : undefined;
  if (presence) http.availability = presence;
  const reports = new Emitter<Report>();
  const streams = new Set<SwitchingStream>();
  const feeds: Record<Side, MakeFeed> = {
    bff: (feed, epoch) => new BffFeed(feed, epoch, check),
    legacy: (feed) => {
      const make = ({ LegacyFeed, getDetail }: LegacyModule) => {
        const ask = async (id: string) =>
          getDetail(new RequestContext(http, new AbortController().signal, "legacy"), id);
        return () => new LegacyFeed({ ...feed, isOver: async (id) => isOver((await ask(id)).status) });
      };
      return deferredFeed(loadLegacy().then(make), feed.host);
    },
  };
  // Once the BFF is down it may be too late to load this code; a failure here is reported by the call that needs it.
  if (fallback) loadLegacy().catch(() => {});
  if (options.onReport) reports.subscribe(options.onReport);
  const unsubscribe = flags.subscribe(() => {
    for (const stream of [...streams]) stream.followFlags();
  });

  /** Ask a service for something small that it has itself. */
  async function answers(service: "aggregator" | "wsrelay"): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      const init: RequestInit = { headers: http.headers(), cache: "no-store", signal };
      const answer = await http.fetch(`${http.baseUrl}/api/v1/openapi/${service}.json`, init);
      await answer.body?.cancel();
      return answer.ok;
    } catch {
      return false;
    }
  }

  const emitReport = (report: Report): void => reports.emit(report);

  const calls = new Calls({ http, flags, fallback, check, emitReport });

  return {
    listRuns: (query = {}, { signal, shown } = {}) => calls.shared(listSpec(query, shown), signal),

    // Both sides hand the key on to one backend, which makes the run once, so the call may be made again.
    createRun: (request, { signal, idempotencyKey = randomId() } = {}) =>
      calls.once(
        {
          call: "createRun",
          group: "run_data",
          ask: (side, context) => side.createRun(context, request, idempotencyKey),
        },
        signal ?? new AbortController().signal,
      ),

    getRun: (id, { signal, ...options } = {}) => calls.shared(runSpec(id, options), signal),

    getChart: (query, { signal, onPreview } = {}) => calls.shared(chartSpec(query, onPreview), signal),

    getView: (id, query, viewOptions) => getView(calls, id, query, viewOptions),

    openStream: (id, streamOptions = {}) => {
      const stream = new SwitchingStream(id, streamOptions, {
        baseUrl: http.baseUrl,
        WebSocket: options.WebSocket ?? globalThis.WebSocket,
        side: () => flags.side("websocket"),
        fallback,
        feeds,
        returnMs,
        isBack: () => answers("wsrelay"),
        opened: (side, ms, failed) =>
          emitReport({
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

    on: reports.subscribe,

    close: () => {
      unsubscribe();
      presence?.close();
      for (const stream of [...streams]) stream.close();
    },
  };
}
