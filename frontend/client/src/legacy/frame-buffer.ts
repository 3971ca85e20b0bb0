/** The source frames of a run as the backend bursts them out, and what several of them amount to. */

import { BffError, isObject } from "../errors.ts";
import { lastIndexAtOrBefore } from "../lib/search.ts";
import { parseTimeMs } from "../lib/time.ts";
import type { Frame, Ohlc } from "../types.ts";

/** Ten years of minutes; what is beyond would not fit a page's memory. */
const MAX_FRAMES = 1_000_000;

export class FrameBuffer {
  readonly #frames: Frame[] = [];
  readonly #at: number[] = [];
  /** Whether the run's last frame is there. */
  complete = false;
  /** How many frames the backend says there are. */
  announced: number | null = null;

  get length(): number {
    return this.#frames.length;
  }

  get total(): number | null {
    return this.complete ? this.length : this.announced;
  }

  get span(): { from: string | null; to: string | null } {
    return { from: this.#frames[0]?.ts ?? null, to: this.complete ? (this.#frames.at(-1)?.ts ?? null) : null };
  }

  /** Take a frame; those that are there already, as after a restart from the first, are skipped by their time. */
  add(message: Record<string, unknown>): boolean {
    const { ts, ohlc, orders, equity } = message;
    const at = parseTimeMs(ts);
    if (Number.isNaN(at) || at <= (this.#at.at(-1) ?? Number.NEGATIVE_INFINITY)) return false;
    if (this.length >= MAX_FRAMES) throw new BffError("TOO_LARGE", "the run has more frames than a page can hold");
    const whole = { ...message, t: "frame", ts, n: 1, seq: this.length, dropped: 0 } as Frame;
    whole.ohlc = readOhlc(ohlc);
    whole.orders = Array.isArray(orders) ? orders : [];
    whole.equity = isObject(equity) ? (equity as Frame["equity"]) : null;
    this.#frames.push(whole);
    this.#at.push(at);
    const { total_frames: total } = message;
    if (typeof total === "number" && total > 0) this.announced = total;
    if (this.announced !== null && this.length >= this.announced) this.complete = true;
    return true;
  }

  /** Return the index of the first frame after a time. */
  indexAfter(ts: string): number {
    return lastIndexAtOrBefore(this.#at, parseTimeMs(ts)) + 1;
  }

  /** Return the index of the frame nearest to a time in milliseconds, null while the buffer has not come so far. */
  indexNearest(ms: number): number | null {
    const before = lastIndexAtOrBefore(this.#at, ms);
    if (before === this.length - 1 && !this.complete && this.#at[before] !== ms) return null;
    const [earlier, later] = [this.#at[before], this.#at[before + 1]];
    if (earlier === undefined) return 0;
    return later !== undefined && later - ms < ms - earlier ? before + 1 : before;
  }

  /** Return one frame that covers the frames from `start` to before `end`. */
  merged(start: number, end: number): Frame {
    const last = this.#frames[end - 1] as Frame;
    if (end - start === 1) return { ...last };
    const frames = this.#frames.slice(start, end);
    return {
      ...last,
      ohlc: frames.reduce<Ohlc | null>((sum, { ohlc }) => mergeOhlc(sum, ohlc), null),
      orders: frames.flatMap(({ orders }) => orders),
      equity: frames.findLast(({ equity }) => equity)?.equity ?? null,
      n: end - start,
    };
  }
}

/** Return a candle, null where a price is missing; a volume that is missing is 0, as over the BFF. */
function readOhlc(value: unknown): Ohlc | null {
  if (!isObject(value) || !["o", "h", "l", "c"].every((name) => Number.isFinite(value[name]))) return null;
  return (Number.isFinite(value["v"]) ? value : { ...value, v: 0 }) as unknown as Ohlc;
}

/** First open, highest high, lowest low, last close, total volume. */
function mergeOhlc(earlier: Ohlc | null, later: Ohlc | null): Ohlc | null {
  if (!earlier || !later) return earlier ?? later;
  return {
    ...earlier,
    ...later,
    o: earlier.o,
    h: Math.max(earlier.h, later.h),
    l: Math.min(earlier.l, later.l),
    v: earlier.v + later.v,
  };
}
