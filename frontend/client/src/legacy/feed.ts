/**
 * The backend's own WebSocket, which bursts a run out unpaced, begins it again on every connection, takes no seek and
 * often says no end: so frames are collected, skipped by their time where they come again, and paced here.
 */

import { BffError, isObject } from "../errors.ts";
import { backoff, type Control, type Feed, type FeedOptions, socketUrl } from "../stream/feed.ts";
import type { Position } from "../types.ts";
import { FrameBuffer } from "./frame-buffer.ts";
import { Pacer } from "./pacer.ts";
import { backtestPath } from "./runs.ts";

/** A heartbeat this long after the last frame means that there are no more of them for now. */
const END_AFTER_IDLE_MS = 3000;
/** The backend's event loop stands still while it loads a run, and its heartbeats with it. */
const HEARTBEAT_TIMEOUT_MS = 60_000;
const REREAD_MS = 5000;

export interface LegacyFeedOptions extends FeedOptions {
  /** Ask the backend whether the run is over. Rejects with BffError. */
  isOver: (id: string) => Promise<boolean>;
}

export class LegacyFeed implements Feed {
  readonly acceptsControls = true;
  readonly #options: LegacyFeedOptions;
  readonly #buffer = new FrameBuffer();
  readonly #pacer: Pacer;
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #grewAt = 0;
  #isRunOver = false;
  #ready = false;
  #started = false;
  #closed = false;

  constructor(options: LegacyFeedOptions) {
    this.#options = options;
    this.#pacer = new Pacer(this.#buffer, options.host);
    void this.#connect();
  }

  start(at: Position, playing: boolean): void {
    this.#started = true;
    this.#pacer.start(at.ts === null ? at.seq + 1 : this.#buffer.indexAfter(at.ts), playing);
  }

  send(control: Control): void {
    if (control.cmd === "play" && !this.#started) this.#started = true;
    this.#pacer.control(control);
  }

  close(): void {
    this.#closed = true;
    this.#pacer.close();
    clearTimeout(this.#timer);
    this.#drop()?.close(1000);
  }

  #drop(): WebSocket | null {
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    this.#socket = null;
    return socket;
  }

  async #connect(): Promise<void> {
    const { id, baseUrl, isOver, WebSocket } = this.#options;
    try {
      this.#isRunOver = await isOver(id);
    } catch (error) {
      if (!this.#closed) this.#refused(error as BffError);
      return;
    }
    if (this.#closed) return;
    const socket = new WebSocket(socketUrl(baseUrl, `${backtestPath(id)}/ws`));
    this.#socket = socket;
    this.#restartWatchdog();
    socket.onopen = () => {
      socket.send('{"t":"ready"}');
      socket.send('{"t":"ctrl","cmd":"play"}');
    };
    // A close event always follows; Node's WebSocket libraries throw what nobody listens for.
    socket.onerror = () => {};
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      this.#restartWatchdog();
      this.#onMessage(JSON.parse(String(data)));
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#drop();
      if (!this.#buffer.complete) this.#onConnectionLost(new BffError("NETWORK", "the backend's stream broke"));
    };
  }

  #restartWatchdog(): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#socket?.close(), HEARTBEAT_TIMEOUT_MS);
  }

  #refused(error: BffError): void {
    if (error.status >= 400 && error.status < 500) this.#fatal(error.code, error.message);
    else this.#onConnectionLost(error);
  }

  #onConnectionLost(error: BffError, wait = backoff(this.#attempt++)): void {
    const { host } = this.#options;
    if (!this.#ready || this.#pacer.starved) {
      host.status({ connection: "reconnecting", retryMs: wait });
      host.failed(error);
    }
    if (!this.#closed) this.#timer = setTimeout(() => void this.#connect(), wait);
  }

  #onMessage(message: unknown): void {
    if (!isObject(message)) return;
    if (message["t"] === "frame") this.#onFrame(message);
    else if (message["t"] === "end") this.#complete();
    else if (message["t"] === "err") this.#onError(String(message["code"]), String(message["msg"]));
    else if (message["t"] === "hb" && this.#grewAt && performance.now() - this.#grewAt > END_AFTER_IDLE_MS)
      this.#onIdle();
  }

  #onFrame(message: Record<string, unknown>): void {
    this.#attempt = 0;
    this.#grewAt = performance.now();
    try {
      if (!this.#buffer.add(message)) return;
    } catch (error) {
      this.#fatal((error as BffError).code, (error as BffError).message);
      return;
    }
    if (this.#buffer.complete) this.#complete();
    else this.#onGrown();
  }

  /** The end, which this backend does not say: a run that was over before it was read has no more frames than these. */
  #onIdle(): void {
    if (this.#isRunOver) this.#complete();
    else this.#reconnectLater();
  }

  #reconnectLater(): void {
    this.#drop()?.close(1000);
    this.#grewAt = 0;
    if (this.#pacer.starved) this.#options.host.status({ connection: "waiting", retryMs: REREAD_MS });
    this.#timer = setTimeout(() => void this.#connect(), REREAD_MS);
  }

  #complete(): void {
    if (!this.#isRunOver && this.#buffer.announced === null) {
      this.#reconnectLater();
      return;
    }
    this.#buffer.complete = true;
    this.#drop()?.close(1000);
    this.#onGrown();
  }

  #onGrown(): void {
    const { host } = this.#options;
    if (!this.#ready) {
      const { ts, seq } = host.position();
      const { complete, length } = this.#buffer;
      if (!complete && length <= (ts === null ? seq + 1 : this.#buffer.indexAfter(ts))) return;
      this.#ready = true;
      host.ready({ epoch: null, total: this.#buffer.total, ...this.#buffer.span });
    }
    if (this.#buffer.complete) host.status({ total: this.#buffer.total, ...this.#buffer.span });
    if (this.#started) this.#pacer.onBufferGrown();
  }

  #onError(code: string, message: string): void {
    // An older backend does not know `ready`, and says so.
    if (code === "VALIDATION" || code === "RANGE") return;
    if (/not found/i.test(message)) this.#fatal(code === "STREAM_ERROR" ? "RUN_NOT_FOUND" : code, message);
    else {
      this.#drop()?.close(1000);
      this.#onConnectionLost(new BffError(code, message));
    }
  }

  #fatal(code: string, message: string): void {
    this.close();
    this.#options.host.error({ code, message, fatal: true });
  }
}
