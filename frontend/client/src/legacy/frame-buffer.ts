/** The source frames of a run as the backend bursts them out, and what several of them amount to. */

import { BffError, isObject } from "../errors.ts";
import { lastIndexAtOrBefore } from "../lib/search.ts";
import { midnightOfDay, openOfDay, REGULAR_MINUTES, sessionDay } from "../lib/sessions.ts";
import { parseTimeMs } from "../lib/time.ts";
import type { Bar, BarSize, Frame, Ohlc, Standing } from "../types.ts";

import { findSessions, type Session } from "./trading-sessions.ts";

/** Sessions around a date, and the first frame after them. */
interface Sessions {
  sessions: Session[];
  after: number;
  /** Of how many frames they were found; FINAL where no more can change them. */
  length: number;
}

const FINAL = -1;

type Equity = NonNullable<Frame["equity"]>;

/** Ten years of minutes; what is beyond would not fit a page's memory. */
const MAX_FRAMES = 1_000_000;

export class FrameBuffer {
  readonly #frames: Frame[] = [];
  readonly #at: number[] = [];
  /** Orders up to each frame, and the index of the frame with the highest equity so far, -1 for none. */
  readonly #orders: number[] = [];
  readonly #peaks: number[] = [];
  readonly #sessions = new Map<number, Sessions>();
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
    this.#orders.push((this.#orders.at(-1) ?? 0) + whole.orders.length);
    this.#peaks.push(this.#peakWith(whole));
    this.#frames.push(whole);
    this.#at.push(at);
    const { total_frames: total } = message;
    if (typeof total === "number" && total > 0) this.announced = total;
    if (this.announced !== null && this.length >= this.announced) this.complete = true;
    return true;
  }

  /** Return what is true after the first `length` frames, with their last bar of a size. */
  standing(length: number, size: BarSize): Standing {
    const last = this.#frames[length - 1];
    const bar = last ? (this.bars(length - 1, length, size).at(-1) ?? null) : null;
    const orders = this.#orders[length - 1] ?? 0;
    return { seq: length - 1, ts: last?.ts ?? null, peak: this.#peak(length - 1), orders, size, bar };
  }

  /** Return the bars that the frames from `start` to before `end` touch, as they are after them. */
  bars(start: number, end: number, size: BarSize): Bar[] {
    const bars: Bar[] = [];
    let position = start;
    while (position < end) {
      const { t, first, after } = this.#barOf(position, size);
      const stop = Math.min(end, after);
      const isClosed = stop < end || (end < this.length ? after <= end : this.complete);
      // The first bar has what came before these frames as well.
      bars.push({ t, ...this.#candle(bars.length ? position : first, stop), closed: isClosed });
      position = stop;
    }
    return bars;
  }

  /** Return the start of the bar that a frame is in, its first frame, and the frame after its last. */
  #barOf(index: number, size: BarSize): { t: number; first: number; after: number } {
    const seconds = (this.#at[index] as number) / 1000;
    const { sessions, after } = this.#sessionsAround(sessionDay(seconds));
    const place = sessions.findLastIndex(({ first }) => first <= index);
    const session = sessions[place] as Session;
    const next = sessions[place + 1]?.first ?? after;
    if (size === "session") return { t: openOfDay(session.day), first: session.first, after: next };
    const close = session.minutes === REGULAR_MINUTES ? Number.POSITIVE_INFINITY : session.open + session.minutes * 60;
    const isLate = seconds >= close;
    const anchor = isLate ? close : session.open;
    const start = anchor + Math.floor((seconds - anchor) / (size * 60)) * size * 60;
    const begin = Math.max(start, isLate ? close : session.begin);
    const end = Math.min(start + size * 60, isLate ? Number.POSITIVE_INFINITY : close);
    return {
      t: begin,
      first: Math.max(session.first, this.#firstAt(begin)),
      after: Math.min(next, this.#firstAt(end)),
    };
  }

  /** Return the sessions that the frames of a date, and of the dates beside it, are in; those of that date are right. */
  #sessionsAround(day: number): Sessions {
    const known = this.#sessions.get(day);
    if (known?.length === this.length || known?.length === FINAL) return known;
    const first = this.#firstAt(midnightOfDay(day - 1));
    const last = this.#firstAt(midnightOfDay(day + 2));
    const times = this.#at.slice(first, last).map((at) => Math.floor(at / 1000));
    const sessions = findSessions(times, 1).map((session) => ({ ...session, first: session.first + first }));
    const found = { sessions, after: last, length: this.complete || last < this.length ? FINAL : this.length };
    this.#sessions.set(day, found);
    return found;
  }

  #firstAt(seconds: number): number {
    return seconds === Number.POSITIVE_INFINITY ? this.length : lastIndexAtOrBefore(this.#at, seconds * 1000 - 1) + 1;
  }

  #candle(start: number, end: number): Omit<Bar, "t" | "closed"> {
    const candle: Omit<Bar, "t" | "closed"> = { o: null, h: null, l: null, c: null, v: 0 };
    for (let index = start; index < end; index++) {
      const ohlc = this.#frames[index]?.ohlc;
      if (!ohlc) continue;
      candle.o ??= ohlc.o;
      candle.h = Math.max(candle.h ?? ohlc.h, ohlc.h);
      candle.l = Math.min(candle.l ?? ohlc.l, ohlc.l);
      candle.c = ohlc.c;
      candle.v += ohlc.v;
    }
    return candle;
  }

  #peakWith({ equity }: Frame): number {
    const before = this.#peaks.at(-1) ?? -1;
    if (!Number.isFinite(equity?.value)) return before;
    return before < 0 || (equity as Equity).value > (this.#frames[before]?.equity?.value ?? 0) ? this.length : before;
  }

  #peak(index: number): Equity | null {
    const frame = this.#frames[this.#peaks[index] ?? -1];
    return frame?.equity ? { ts: frame.equity.ts ?? frame.ts, value: frame.equity.value } : null;
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

  /**
   * Return one frame that covers the frames from `start` to before `end`, with its bars where a size is given; `repeats`
   * says that the bar before it was not known to be finished.
   */
  merged(start: number, end: number, size: BarSize | null = null, repeats = false): Frame {
    const frame = this.#merged(start, end);
    if (size === null) return frame;
    return {
      ...frame,
      bars: this.bars(repeats && start > 0 ? start - 1 : start, end, size),
      peak: this.#peak(end - 1),
    };
  }

  #merged(start: number, end: number): Frame {
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
