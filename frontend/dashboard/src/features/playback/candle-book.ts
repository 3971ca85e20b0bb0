/**
 * Candles that grow as frames come, and the balance of what came. No chart, no DOM.
 *
 * A frame may cover several source frames; it is put into the bar of its own time, as it is.
 */

import { REGULAR_MINUTES } from "bff-client/lib/sessions";
import { parseTime } from "bff-client/lib/time";
import { barStart } from "../../lib/time.ts";

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
}

/** As much of a stream's frame as a candle needs. */
export interface Frame {
  ts: string;
  ohlc?: Ohlcv | null | undefined;
  orders?: readonly Order[] | null | undefined;
  equity?: { value?: number | null | undefined } | null | undefined;
  n?: number | undefined;
  seq?: number | undefined;
  dropped?: number | undefined;
}

/** Candles kept; a chart shows some hundreds, and an endless playback must not grow. */
export const MAX_CANDLES = 6000;

export class CandleBook {
  readonly minutes: number;
  candles: Candle[] = [];
  /** Whether candles were taken away or replaced since the last `drawn`: the chart then needs all of them. */
  rebuilt = true;
  private firstChanged = 0;

  constructor(minutes: number) {
    this.minutes = minutes;
  }

  /** Take a frame in; one whose time lies before the last candle's is left out (a seek starts a new book). */
  add(frame: Frame): void {
    const seconds = parseTime(frame.ts);
    if (seconds === undefined) return;
    const time = barStart(seconds, this.minutes);
    const last = this.candles.at(-1);
    if (last && time < last.time) return;
    const candle = last && last.time === time ? last : this.open(time, last);
    extendCandle(candle, frame.ohlc);
    addEquityAndOrders(candle, frame);
    this.firstChanged = Math.min(this.firstChanged, this.candles.length - 1);
  }

  /** Put what came before in front: bars older than the first candle there is. */
  prepend(bars: readonly (Ohlcv & { time: number })[], before: number): void {
    const limit = this.candles[0]?.time ?? barStart(before, this.minutes);
    const older = new CandleBook(this.minutes);
    for (const bar of bars) {
      const time = barStart(bar.time, this.minutes);
      if (time >= limit) break;
      const last = older.candles.at(-1);
      if (last?.time === time) extendCandle(last, bar);
      else older.candles.push({ ...bar, time, equity: undefined, buys: 0, sells: 0 });
    }
    this.candles = [...older.candles, ...this.candles].slice(-MAX_CANDLES);
    this.rebuilt = true;
  }

  /** Return the candles that changed since the last call, oldest first. */
  changed(): Candle[] {
    const changed = this.candles.slice(this.rebuilt ? 0 : this.firstChanged);
    this.rebuilt = false;
    this.firstChanged = this.candles.length;
    return changed;
  }

  private open(time: number, last: Candle | undefined): Candle {
    const candle = { time, o: null, h: null, l: null, c: null, v: 0, equity: last?.equity, buys: 0, sells: 0 };
    this.candles.push(candle);
    if (this.candles.length > MAX_CANDLES) {
      this.candles.splice(0, this.candles.length - MAX_CANDLES / 2);
      this.rebuilt = true;
    }
    return candle;
  }
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

function addEquityAndOrders(candle: Candle, frame: Frame): void {
  if (typeof frame.equity?.value === "number") candle.equity = frame.equity.value;
  for (const { side } of frame.orders ?? []) {
    if (String(side).toUpperCase() === "SELL") candle.sells += 1;
    else candle.buys += 1;
  }
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
