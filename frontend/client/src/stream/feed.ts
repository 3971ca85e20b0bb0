/** The interface between a stream and the side that feeds it: frames after a position, controls, and connection events. */

import type { BffError } from "../errors.ts";
import type { BarSize, Frame, Position, Standing, StreamEvents, StreamState } from "../types.ts";

export type Control =
  | { cmd: "play" | "pause" }
  | { cmd: "seek"; pos: number | string }
  | { cmd: "speed" | "fps" | "step"; val: number }
  | { cmd: "bar"; val: BarSize | "none" };

/** A source of frames: one connection at a time, re-established until the feed is closed. */
export interface Feed {
  /** Whether a control sent now would take effect or be queued. */
  readonly acceptsControls: boolean;
  /** Deliver the frames after this position; none is delivered before this call. */
  start(at: Position, playing: boolean): void;
  send(control: Control): void;
  close(): void;
}

/** The receiver of a feed's frames and events. */
export interface FeedHost {
  /** The feed can continue from the stream's position; called once per connection. */
  ready(hello: Omit<StreamEvents["hello"], "side" | "seq"> & { seq?: number }): void;
  frame(frame: Frame): void;
  /** What is true before the frame that comes next. */
  standing(standing: Standing): void;
  status(change: Partial<StreamState>): void;
  end(): void;
  error(error: StreamEvents["error"]): void;
  /** The feed has failed; it retries until it is closed. */
  failed(error: BffError): void;
  /** Frames arrive, or a connection has held for a while: the feed has recovered. */
  healthy(): void;
  /** The epoch that `seq` counts in is known now, or is another one. */
  epoch(epoch: string): void;
  position(): Position;
  /** The pace and bars asked for. */
  pace(): { speed: number; fps: number; bar: BarSize | null };
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

/** Return a feed whose code is still loading; calls are queued until it has loaded. */
export function deferredFeed(loading: Promise<() => Feed>, host: FeedHost): Feed {
  let feed: Feed | undefined;
  let closed = false;
  const waiting: ((feed: Feed) => void)[] = [];
  const whenLoaded = (act: (feed: Feed) => void): void => {
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
    start: (at, playing) => whenLoaded((loaded) => loaded.start(at, playing)),
    send: (control) => whenLoaded((loaded) => loaded.send(control)),
    close: () => {
      closed = true;
      feed?.close();
    },
  };
}
