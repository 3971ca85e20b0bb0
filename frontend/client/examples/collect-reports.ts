/**
 * Sends what the client reports, and what the page throws, to a collector: `onReport: collectReports("/reports").onReport`.
 * In batches that a page that is left still delivers (Beacon API); nothing of it holds the page up, and what finds no room
 * is counted instead of kept.
 */

import type { Report } from "../src/types.ts";

/** A report, or an exception that nobody caught, with the time in milliseconds since the epoch. */
export type Entry = (Report & { at: number }) | { at: number; uncaught: string };

interface Options {
  everyMs?: number;
  most?: number;
  send?: (url: string, body: string) => boolean;
}

export interface Collection {
  onReport: (report: Report) => void;
  flush: () => void;
  stop: () => void;
}

const beacon = (url: string, body: string): boolean => navigator.sendBeacon(url, body);

/** Return the listener for a client's reports. At most `most` entries wait for `everyMs`; the page's own go with them. */
export function collectReports(url: string, { everyMs = 10_000, most = 200, send = beacon }: Options = {}): Collection {
  let waiting: Entry[] = [];
  let dropped = 0;
  const take = (entry: Entry): void => {
    if (waiting.length < most) waiting.push(entry);
    else dropped += 1;
  };
  const flush = (): void => {
    if (!waiting.length) return;
    if (!send(url, JSON.stringify({ entries: waiting, dropped }))) dropped += waiting.length;
    else dropped = 0;
    waiting = [];
  };
  const onHide = (): void => {
    if (document.visibilityState === "hidden") flush();
  };
  const onError = (event: ErrorEvent): void => take({ at: Date.now(), uncaught: event.message.slice(0, 200) });
  const timer = setInterval(flush, everyMs);
  globalThis.document?.addEventListener("visibilitychange", onHide);
  globalThis.window?.addEventListener("error", onError);
  return {
    onReport: (report) => take({ at: Date.now(), ...report }),
    flush,
    stop: () => {
      clearInterval(timer);
      globalThis.document?.removeEventListener("visibilitychange", onHide);
      globalThis.window?.removeEventListener("error", onError);
      flush();
    },
  };
}
