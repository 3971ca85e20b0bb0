/** Plays a buffer at a pace, as the relay would: 30 × speed source frames a second, `fps` times a second. */

import { parseTimeMs } from "../lib/time.ts";
import type { Control, FeedHost } from "../stream/feed.ts";
import type { FrameBuffer } from "./frame-buffer.ts";

const SOURCE_RATE = 30;
/** Milliseconds behind its schedule that a page which was asleep makes up for. */
const MAX_LAG_MS = 1000;

export class Pacer {
  readonly #buffer: FrameBuffer;
  readonly #host: FeedHost;
  #cursor = 0;
  #playing = false;
  #due = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #dropped = 0;
  #seeking: number | string | null = null;
  /** The last frame shown was the last there was, so that its bar may be finished. */
  #isLastOpen = false;
  #isPlaced = false;

  constructor(buffer: FrameBuffer, host: FeedHost) {
    this.#buffer = buffer;
    this.#host = host;
  }

  /** Whether it has nothing to show and is asked to show something. */
  get starved(): boolean {
    const out = this.#cursor >= this.#buffer.length && !this.#buffer.complete;
    return this.#seeking !== null || (this.#playing && out);
  }

  start(cursor: number, playing: boolean): void {
    this.#jump(cursor);
    if (playing) this.#play();
  }

  control(control: Control): void {
    if (control.cmd === "play") this.#play();
    else if (control.cmd === "pause") this.close();
    else if (control.cmd === "seek") this.#seek(control.pos);
    else if (control.cmd === "step") this.#step(control.val);
    else if (control.cmd === "bar") this.#jump(this.#cursor);
    else if (this.#playing) this.#scheduleFrame(performance.now() + 1000 / this.#host.pace().fps);
  }

  /** Take note that the buffer has grown or is complete. */
  onBufferGrown(): void {
    if (this.#seeking !== null) this.#seek(this.#seeking);
    else this.#place();
    if (this.#playing && this.#timer === undefined) this.#scheduleFrame(performance.now());
  }

  close(): void {
    this.#playing = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #play(): void {
    if (this.#playing) return;
    this.#playing = true;
    this.#scheduleFrame(performance.now());
  }

  #scheduleFrame(due: number): void {
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, due - performance.now()));
  }

  /** Show what is due. Frames end at multiples of the stride, so that they are the ones that the relay would make. */
  #tick(): void {
    this.#timer = undefined;
    if (!this.#playing) return;
    const { speed, fps } = this.#host.pace();
    const stride = (SOURCE_RATE * speed) / fps;
    const now = performance.now();
    const late = Math.min(now - this.#due, MAX_LAG_MS);
    let missed = Math.max(0, Math.floor((late * fps) / 1000));
    let tick = Math.floor(this.#cursor / stride + 1e-9) + 1;
    while (Math.floor(tick * stride + 1e-9) <= this.#cursor) tick++;
    const { length, complete } = this.#buffer;
    const endAfter = (ticks: number): number => Math.floor((tick + ticks) * stride + 1e-9);
    // What has come is shown, though it be less than what is due.
    while (missed > 0 && !complete && endAfter(missed) > length) missed--;
    const end = endAfter(missed);
    if (end > length && !complete) return;
    const until = Math.min(end, length);
    if (until > this.#cursor) {
      this.#dropped += missed;
      const next = this.#due + (1000 * (1 + missed)) / fps;
      this.#show(this.#cursor, until);
      // A listener may have paused, or asked for another pace.
      if (this.#playing && this.#timer === undefined) this.#scheduleFrame(Math.max(next, now));
    } else {
      this.close();
      this.#host.end();
    }
  }

  /** Go to a place, and say what is true there once the buffer has come so far. */
  #jump(cursor: number): void {
    this.#cursor = cursor;
    this.#isLastOpen = false;
    this.#isPlaced = false;
    this.#place();
  }

  #place(): void {
    if (this.#isPlaced || this.#cursor > this.#buffer.length) return;
    this.#isPlaced = true;
    const { bar } = this.#host.pace();
    if (bar) this.#host.standing(this.#buffer.standing(this.#cursor, bar));
  }

  #show(start: number, end: number): void {
    if (start !== this.#cursor) this.#jump(start);
    this.#place();
    this.#cursor = end;
    const frame = this.#buffer.merged(start, end, this.#host.pace().bar, this.#isLastOpen);
    this.#isLastOpen = end === this.#buffer.length && !this.#buffer.complete;
    this.#host.frame({ ...frame, dropped: this.#dropped });
  }

  #seek(to: number | string): void {
    const isIndex = typeof to === "number" || /^-?\d{1,15}$/.test(to);
    const ms = isIndex ? Number.NaN : parseTimeMs(to);
    if (!isIndex && Number.isNaN(ms)) {
      this.#refuse("VALIDATION", "pos must be an ISO 8601 time or a frame index");
      return;
    }
    const index = isIndex ? Number(to) : this.#buffer.indexNearest(ms);
    const { length, total, span } = this.#buffer;
    const early =
      !isIndex && span.from !== null && ms < parseTimeMs(String(to).length > 10 ? span.from : span.from.slice(0, 10));
    const late = !isIndex && span.to !== null && ms > parseTimeMs(span.to);
    if (early || late || (index !== null && (index < 0 || (total !== null && index >= total)))) {
      const range = isIndex ? { min: 0, max: total === null ? null : total - 1 } : { min: span.from, max: span.to };
      this.#refuse("RANGE", "pos is outside the run", range);
      return;
    }
    if (index === null || index >= length) {
      this.#seeking = to;
      this.#host.status({ connection: "waiting" });
      return;
    }
    this.#seeking = null;
    this.#show(index, index + 1);
    if (this.#playing) this.#scheduleFrame(performance.now() + 1000 / this.#host.pace().fps);
  }

  #step(by: number): void {
    const index = by > 0 ? this.#cursor : this.#cursor - 2;
    const { total } = this.#buffer;
    if (index >= 0 && (total === null || index < total)) this.close();
    this.#seek(index);
  }

  #refuse(code: string, message: string, details?: unknown): void {
    if (this.#seeking !== null) this.#host.status({ connection: "live" });
    this.#seeking = null;
    this.#host.error({ code, message, fatal: false, ...(details !== undefined && { details }) });
  }
}
