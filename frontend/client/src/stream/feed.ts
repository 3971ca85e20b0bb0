/** What a stream needs of a side: frames after a position, controls that take effect, and to be told how it goes. */

import type { BffError } from "../errors.ts";
import type { Frame, Position, StreamEvents, StreamState } from "../types.ts";

export type Control =
  | { cmd: "play" | "pause" }
  | { cmd: "seek"; pos: number | string }
  | { cmd: "speed" | "fps" | "step"; val: number };

/** Where frames come from: one connection at a time, kept up by itself until it is closed. */
export interface Feed {
  /** Whether a control would take effect, or be kept, if it were sent now. */
  readonly acceptsControls: boolean;
  /** Hand over the frames after this position. Nothing is handed over before. */
  start(at: Position, playing: boolean): void;
  send(control: Control): void;
  close(): void;
}

/** Who takes the frames. */
export interface FeedHost {
  /** The feed could go on from the stream's position now; said once for each connection. */
  ready(hello: Omit<StreamEvents["hello"], "side" | "seq"> & { seq?: number }): void;
  frame(frame: Frame): void;
  status(change: Partial<StreamState>): void;
  end(): void;
  error(error: StreamEvents["error"]): void;
  /** The feed is out of order; it goes on trying until it is closed. */
  failed(error: BffError): void;
  /** Frames come, or a connection has held for a while: the feed is in order again. */
  healthy(): void;
  /** The reading of the run that `seq` counts in is known now, or is another one. */
  epoch(epoch: string): void;
  position(): Position;
  /** The pace asked for. */
  pace(): { speed: number; fps: number };
}

export interface FeedOptions {
  id: string;
  baseUrl: string;
  WebSocket: typeof WebSocket;
  host: FeedHost;
}

/** Return an address of the origin for WebSocket. */
export function socketUrl(baseUrl: string, path: string): string {
  const base = baseUrl || globalThis.location?.origin || "";
  return base.replace(/^http/, "ws") + path;
}

/** Return milliseconds to wait before another try: growing, capped, and spread by full jitter above a floor. */
export function backoff(attempt: number): number {
  return 100 + Math.random() * Math.min(15_000, 250 * 2 ** attempt);
}

/** Return a feed whose code is still on its way; what it is told meanwhile waits. */
export function deferredFeed(loading: Promise<() => Feed>, host: FeedHost): Feed {
  let feed: Feed | undefined;
  let closed = false;
  const waiting: ((feed: Feed) => void)[] = [];
  const tell = (act: (feed: Feed) => void): void => {
    if (feed) act(feed);
    else waiting.push(act);
  };
  loading.then(
    (make) => {
      if (closed) return;
      feed = make();
      for (const act of waiting) act(feed);
    },
    (error: BffError) => closed || host.error({ code: error.code, message: error.message, fatal: true }),
  );
  return {
    acceptsControls: true,
    start: (at, playing) => tell((loaded) => loaded.start(at, playing)),
    send: (control) => tell((loaded) => loaded.send(control)),
    close: () => {
      closed = true;
      feed?.close();
    },
  };
}
