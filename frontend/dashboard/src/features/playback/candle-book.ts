/**
 * Candles that grow as frames come, and the balance of what came. No chart, no DOM.
 *
 * A frame says which bars it touches and how they stand after it; they are drawn as said. A frame that says nothing of
 * bars, as those of an older relay, is put into the bar of its own time as it is.
 */

import { REGULAR_MINUTES } from "bff-client/lib/sessions";
import { parseTime } from "bff-client/lib/time";
import { barStart } from "../../lib/time.ts";

/** A bar of the chart as far as it has come; `t` is its start in UTC seconds. */
export interface Bar {
  t: number;
  o: number | null;
  h: number | null;
  l: number | null;
  c: number | null;
  v: number;
}

export interface Ohlcv {
  o: number;
  h: number;
  l: number;
  c: number;
  v: number;
}

/** A bar; one whose frames had no prices so far has null for each, and is drawn as a gap. */
export interface Candle {
  time: number;
  o: number | null;
  h: number | null;
  l: number | null;
  c: number | null;
  v: number;
  equity: number | undefined;
  buys: number;
  sells: number;
}

export interface Order {
  side?: unknown;
  ts_utc?: unknown;
  timestamp?: unknown;
}

/** As much of a stream's frame as a candle needs. */
export interface Frame {
  ts: string;
  ohlc?: Ohlcv | null | undefined;
  orders?: readonly Order[] | null | undefined;
  equity?: { value?: number | null | undefined } | null | undefined;
  bars?: readonly Bar[] | undefined;
  n?: number | undefined;
  seq?: number | undefined;
  dropped?: number | undefined;
}

/** Candles kept; a chart shows some hundreds, and an endless playback must not grow. */
export const MAX_CANDLES = 6000;
/** Moments kept of which bars of another size are marked: eleven minutes of playback. */
const MAX_MOMENTS = 20_000;

/** What is known of a moment besides prices. */
export interface Moment {
  at: number;
  equity?: number | undefined;
  side?: "buys" | "sells";
}

export class CandleBook {
  readonly minutes: number;
  candles: Candle[] = [];
  /** Equity and orders in the order in which they came, for bars of whatever size. */
  moments: Moment[];
  /** Whether candles were taken away or replaced since the last `drawn`: the chart then needs all of them. */
  rebuilt = true;
  private firstChanged = 0;
  /** Index of the last candle that was drawn: those before it can only be drawn with all others. */
  private lastDrawn = 0;

  constructor(minutes: number, moments: readonly Moment[] = []) {
    this.minutes = minutes;
    this.moments = [...moments];
  }

  /** Take a frame in; one whose time lies before the last candle's is left out (a seek starts a new book). */
  add(frame: Frame): void {
    const seconds = parseTime(frame.ts);
    if (seconds === undefined) return;
    if (frame.bars) for (const bar of frame.bars) this.set(bar);
    else this.extend(seconds, frame.ohlc);
    for (const moment of momentsOf(frame, seconds)) {
      this.moments.push(moment);
      this.mark(moment);
    }
    if (this.moments.length > MAX_MOMENTS) this.moments.splice(0, MAX_MOMENTS / 2);
  }

  /** Draw a bar as it is said to be. */
  set({ t, o, h, l, c, v }: Bar): void {
    const index = this.indexOf(t);
    if (index < 0 && t < (this.candles.at(-1)?.time ?? t)) return;
    Object.assign(this.candles[index] ?? this.open(t), { o, h, l, c, v });
    this.change(index < 0 ? this.candles.length - 1 : index);
  }

  /** Put what came before in front: bars older than the first candle there is. */
  prepend(bars: readonly (Ohlcv & { time: number })[], before: number): void {
    const limit = this.candles[0]?.time ?? barStart(before, this.minutes);
    const older = new CandleBook(this.minutes);
    for (const bar of bars) {
      // Hours and sessions come as they are; of what trades in the night they are not anchored at 09:30.
      const time = this.minutes < 60 ? barStart(bar.time, this.minutes) : bar.time;
      if (time >= limit) break;
      const last = older.candles.at(-1);
      extendCandle(last?.time === time ? last : older.open(time), bar);
    }
    this.candles = [...older.candles, ...this.candles].slice(-MAX_CANDLES);
    this.markAll();
  }

  /** Mark the candles there are with what is known of their moments. */
  markAll(): void {
    for (const candle of this.candles) Object.assign(candle, { equity: undefined, buys: 0, sells: 0 });
    for (const moment of this.moments) this.mark(moment);
    this.rebuilt = true;
  }

  /** Return the candles that changed since the last call, oldest first. */
  changed(): Candle[] {
    const changed = this.candles.slice(this.rebuilt ? 0 : this.firstChanged);
    this.rebuilt = false;
    this.firstChanged = this.candles.length;
    this.lastDrawn = this.candles.length - 1;
    return changed;
  }

  private extend(seconds: number, ohlc: Ohlcv | null | undefined): void {
    const time = barStart(seconds, this.minutes);
    const last = this.candles.at(-1);
    if (last && time < last.time) return;
    extendCandle(last?.time === time ? last : this.open(time), ohlc);
    this.change(this.candles.length - 1);
  }

  private mark({ at, equity, side }: Moment): void {
    const index = this.indexAround(at);
    const candle = this.candles[index];
    if (!candle) return;
    if (equity !== undefined) candle.equity = equity;
    if (side) candle[side] += 1;
    this.change(index);
  }

  private change(index: number): void {
    this.firstChanged = Math.min(this.firstChanged, index);
    if (index < this.lastDrawn) this.rebuilt = true;
  }

  /** Return the index of the candle that a moment lies in, -1 for none. */
  private indexAround(at: number): number {
    if (this.minutes >= REGULAR_MINUTES) return this.indexOf(barStart(at, this.minutes));
    const index = this.indexBefore(at + 1);
    return at - (this.candles[index]?.time ?? 0) < this.minutes * 60 ? index : -1;
  }

  /** Return the index of the candle of a time, -1 for none. */
  private indexOf(time: number): number {
    const index = this.indexBefore(time + 1);
    return this.candles[index]?.time === time ? index : -1;
  }

  /** Return the index of the last candle before a time, -1 for none. */
  private indexBefore(time: number): number {
    let low = 0;
    let high = this.candles.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.candles[middle] as Candle).time < time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  private open(time: number): Candle {
    const candle = { time, o: null, h: null, l: null, c: null, v: 0, equity: undefined, buys: 0, sells: 0 };
    this.candles.push(candle);
    if (this.candles.length > MAX_CANDLES) {
      this.candles.splice(0, this.candles.length - MAX_CANDLES / 2);
      this.rebuilt = true;
    }
    return candle;
  }
}

/** Return what a frame says of its moment, and of those of its orders. */
function momentsOf({ equity, orders }: Frame, seconds: number): Moment[] {
  const moments: Moment[] = (orders ?? []).map(({ side, ts_utc, timestamp }) => ({
    at: parseTime(String(ts_utc ?? timestamp ?? "")) ?? seconds,
    side: String(side).toUpperCase() === "SELL" ? "sells" : "buys",
  }));
  if (typeof equity?.value === "number") moments.push({ at: seconds, equity: equity.value });
  return moments;
}

function extendCandle(candle: Candle, ohlc: Ohlcv | null | undefined): void {
  if (!ohlc || !hasPrices(ohlc)) return;
  candle.o ??= ohlc.o;
  candle.h = Math.max(candle.h ?? ohlc.h, ohlc.h);
  candle.l = Math.min(candle.l ?? ohlc.l, ohlc.l);
  candle.c = ohlc.c;
  candle.v += ohlc.v ?? 0;
}

/** Null would count as zero, and draw a wick down to it. */
function hasPrices({ o, h, l, c }: Ohlcv): boolean {
  return [o, h, l, c].every(Number.isFinite);
}

/** Return the bar size for a pace: the smallest whose bars take at least two frames to grow. */
export function barMinutesFor(speed: number, fps: number): number {
  const minutesPerFrame = (30 * speed) / fps;
  return (
    [1, 5, 15, 60].find((minutes) => minutes >= 2 * minutesPerFrame) ?? (minutesPerFrame <= 60 ? 60 : REGULAR_MINUTES)
  );
}

/** What came through a stream, and whether all of it did. */
export interface FrameCounts {
  frames: number;
  /** Source frames that the frames covered. */
  covered: number;
  orders: number;
  dropped: number;
  seq: number;
  /** Index before the first frame counted: -1 from the start of the run. */
  base: number;
  /** Frames whose `seq` was not above the one before, or did not follow from `n`. */
  gaps: number;
}

export const emptyCounts = (base = -1): FrameCounts => ({
  frames: 0,
  covered: 0,
  orders: 0,
  dropped: 0,
  seq: base,
  base,
  gaps: 0,
});

/** Count a frame; the counts is changed in place, for it is counted thirty times a second. */
export function countFrame(counts: FrameCounts, frame: Frame): void {
  counts.frames += 1;
  counts.orders += frame.orders?.length ?? 0;
  counts.dropped = frame.dropped ?? counts.dropped;
  if (frame.seq === undefined || frame.n === undefined) return;
  if (counts.frames === 1 && counts.covered === 0 && frame.seq - frame.n !== counts.base)
    counts.base = frame.seq - frame.n;
  if (frame.seq !== counts.seq + frame.n && counts.covered > 0) counts.gaps += 1;
  counts.covered += frame.n;
  counts.seq = frame.seq;
}

/** Frames that are missing (above 0) or came twice (below 0) between the first one counted and the last. */
export const imbalance = (counts: FrameCounts) => counts.seq - counts.base - counts.covered;
