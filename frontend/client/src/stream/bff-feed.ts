/** Playback over the BFF: the relay paces, merges, seeks and resumes, so little is left to do here. */

import { BffError, isObject } from "../errors.ts";
import type { components } from "../generated/stream.ts";
import { pathWithQuery } from "../http/request-context.ts";
import type { Frame, Position, StreamState } from "../types.ts";
import { backoff, type Control, type Feed, type FeedOptions, socketUrl } from "./feed.ts";

/** Close codes after which reconnecting is useless: docs/playback.md. */
const FINAL_CLOSE_CODES: Record<number, string> = {
  1008: "VALIDATION",
  1009: "TOO_LARGE",
  4401: "UNAUTHORIZED",
  4403: "FORBIDDEN",
  4404: "RUN_NOT_FOUND",
  4424: "ARTIFACT_MISSING",
};

type Messages = components["schemas"];
type Hello = Messages["Hello"];
type Extent = Messages["Extent"];

const HEARTBEAT_TIMEOUT_MS = 15_000;
/** The relay sends its hello within 2 s, whatever the backend does. */
const HELLO_TIMEOUT_MS = 5000;
/** A connection is healthy once it has held for this long or delivered a frame; a hello alone proves nothing. */
const HEALTHY_AFTER_MS = 5000;
/** Names no epoch of any run: the relay then resumes by `ts`. Without an epoch it could take `seq` for another run's. */
const UNKNOWN_EPOCH = "unknown";

export class BffFeed implements Feed {
  readonly #options: FeedOptions;
  readonly #check: ((schema: "StreamMessage", message: unknown) => void) | undefined;
  #socket: WebSocket | null = null;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #healthyTimer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #isHealthy = false;
  #retryMs: number | null = null;
  #epoch: string | null;
  #started = false;
  #playing = false;
  #hasHello = false;
  /** The time of the frame shown last, until the first frame of a connection has been compared with it. */
  #lastShownTs: string | null = null;

  constructor(options: FeedOptions, epoch: string | null, check?: (schema: "StreamMessage", message: unknown) => void) {
    this.#options = options;
    this.#check = check;
    this.#epoch = epoch;
    this.#connect();
  }

  get acceptsControls(): boolean {
    return this.#hasHello;
  }

  start(at: Position, playing: boolean): void {
    this.#started = true;
    this.#playing = playing;
    this.#lastShownTs = at.ts;
    if (this.#hasHello && playing) this.#sendControl({ cmd: "play" });
  }

  send(control: Control): void {
    if (control.cmd === "play" || control.cmd === "pause") this.#playing = control.cmd === "play";
    if (control.cmd === "step") this.#playing = false;
    if (control.cmd === "seek" || control.cmd === "step") this.#lastShownTs = null;
    if (this.#hasHello) this.#sendControl(control);
  }

  close(): void {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#watchdog);
    clearTimeout(this.#healthyTimer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  #sendControl(control: Control): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify({ t: "ctrl", ...control }));
  }

  #connect(): void {
    const { id, baseUrl, host, WebSocket } = this.#options;
    const { seq, ts } = host.position();
    const epoch = this.#epoch ?? (ts === null ? null : UNKNOWN_EPOCH);
    const at = seq >= 0 ? { epoch, seq, ts } : {};
    const path = pathWithQuery(`/api/v1/runs/${encodeURIComponent(id)}/stream`, { ...host.pace(), ...at });
    const socket = new WebSocket(socketUrl(baseUrl, path));
    this.#socket = socket;
    this.#hasHello = false;
    this.#isHealthy = false;
    this.#lastShownTs = ts;
    this.#restartWatchdog();
    // A close event always follows; Node's WebSocket libraries throw what nobody listens for.
    socket.onerror = () => {};
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      this.#restartWatchdog();
      this.#onMessage(JSON.parse(String(data)));
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#socket === socket) this.#onConnectionLost(code, reason);
    };
  }

  /** Drop a connection that sends nothing, not even its heartbeat every 5 s. */
  #restartWatchdog(): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(
      () => {
        const socket = this.#socket;
        this.#onConnectionLost(1006, "silence");
        socket?.close();
      },
      this.#hasHello ? HEARTBEAT_TIMEOUT_MS : HELLO_TIMEOUT_MS,
    );
  }

  /** This connection is healthy: reset the backoff. */
  #onHealthy(): void {
    clearTimeout(this.#healthyTimer);
    if (this.#isHealthy) return;
    this.#isHealthy = true;
    this.#attempt = 0;
    this.#options.host.healthy();
  }

  #onConnectionLost(code: number, reason: string): void {
    const { host } = this.#options;
    clearTimeout(this.#watchdog);
    clearTimeout(this.#healthyTimer);
    this.#socket = null;
    const final = FINAL_CLOSE_CODES[code];
    if (final) {
      host.error({ code: final, message: reason || "the stream is refused", fatal: true });
      return;
    }
    const wait = this.#attempt === 0 && this.#retryMs !== null ? this.#retryMs : backoff(this.#attempt);
    host.status({ connection: "reconnecting", retryMs: wait });
    // The first loss of a connection that was greeted is no failure yet: a relay that drains has a replica beside it. Nor is
    // a greeting by itself a success: a relay may greet for a run that it cannot read.
    if (this.#attempt > 0 || !this.#hasHello) {
      host.failed(new BffError("NETWORK", reason || "the stream's connection broke", { details: { close: code } }));
    }
    this.#attempt++;
    this.#hasHello = false;
    this.#retryMs = null;
    this.#retryTimer = setTimeout(() => this.#connect(), wait);
  }

  #onMessage(message: unknown): void {
    this.#check?.("StreamMessage", message);
    if (!isObject(message)) return;
    const { host } = this.#options;
    switch (message["t"]) {
      case "hello":
        this.#onHello(message);
        break;
      case "frame":
        this.#onFrame(message as Frame);
        break;
      case "position": {
        const { t: _, ...standing } = message as unknown as Messages["Position"];
        if (this.#started) host.standing(standing);
        break;
      }
      case "extent": {
        const { total, from, to } = message as unknown as Extent;
        host.status({ total, from, to });
        break;
      }
      case "status":
        this.#onStatus(message);
        break;
      case "end":
        this.#playing = false;
        host.end();
        break;
      case "err":
        host.error({
          code: String(message["code"]),
          message: String(message["msg"]),
          ...(message["details"] !== undefined && { details: message["details"] }),
          fatal: false,
        });
    }
  }

  #onHello(message: Record<string, unknown>): void {
    const { epoch, total, from, to, seq } = message as unknown as Hello;
    this.#hasHello = true;
    // Null while the relay cannot tell yet; a status says it later.
    this.#epoch = epoch || null;
    this.#restartWatchdog();
    this.#healthyTimer = setTimeout(() => this.#onHealthy(), HEALTHY_AFTER_MS);
    const resuming = this.#started && this.#playing;
    this.#options.host.ready({ epoch: this.#epoch, total, from, to, seq });
    // A listener of `ready` may have paused it.
    if (resuming && this.#playing) this.#sendControl({ cmd: "play" });
  }

  #onFrame(frame: Frame): void {
    const shown = this.#lastShownTs;
    this.#lastShownTs = null;
    this.#onHealthy();
    if (!this.#started || (shown !== null && Date.parse(frame.ts) <= Date.parse(shown))) return;
    this.#options.host.frame(frame);
  }

  #onStatus(message: Record<string, unknown>): void {
    const { host } = this.#options;
    const { state, retry_ms: retryMs, epoch } = message;
    if (typeof retryMs === "number") this.#retryMs = retryMs;
    if (state === "epoch") {
      if (typeof epoch !== "string" || !epoch) return;
      this.#epoch = epoch;
      host.epoch(epoch);
    } else {
      host.status({
        connection: state as StreamState["connection"],
        retryMs: typeof retryMs === "number" ? retryMs : null,
      });
    }
  }
}
