/**
 * Fewer bars that tell the same: first open, highest high, lowest low, last close, summed volume. Buckets are anchored
 * at each session's open and cross none; the finest size that fits is taken.
 */

import { lastIndexAtOrBefore } from "../lib/search.ts";
import { midnightOfDay, openOfDay, REGULAR_MINUTES } from "../lib/sessions.ts";
import { DAY } from "../lib/time.ts";
import type { Columns } from "../types.ts";
import { findSessions, type Session, sessionsOfDates } from "./trading-sessions.ts";

const MINUTES = [1, 2, 3, 5, 10, 13, 15, 26, 30, 39, 60, 120, 180];
/** Sizes of whole sessions, in nominal minutes of trading: session, week, month, quarter, year. */
const SESSION = REGULAR_MINUTES;
const WEEK = SESSION * 5;
const SPANS = [SESSION, WEEK, SESSION * 21, SESSION * 63, SESSION * 252];
const MONTHS: Record<number, number> = { [SESSION * 21]: 1, [SESSION * 63]: 3, [SESSION * 252]: 12 };
/** More days than any span of a size has, and fewer than two of them. */
const LONGEST: Record<number, number> = { [WEEK]: 7, [SESSION * 21]: 31, [SESSION * 63]: 92, [SESSION * 252]: 366 };

/** What the bars of one source mean: their length in minutes; dates or moments; a whole day or regular hours. */
export interface Clock {
  minutes: number;
  /** No bucket is shorter than so many minutes. */
  finest: number;
  daily: boolean;
  extended: boolean;
}

/** Rows from `first` to `last`, which is excluded. */
export interface Rows {
  first: number;
  last: number;
}

/** Where buckets begin, and their stamps. */
interface Cut {
  first: number[];
  stamps: number[];
}

/** Bars, one at least, in buckets of any size; only those that hold one of the `rows` asked for count. */
export class Buckets {
  readonly #columns: Columns;
  readonly #rows: Rows;
  readonly #clock: Clock;
  readonly #sessions: Session[];

  constructor(columns: Columns, rows: Rows, clock: Clock) {
    this.#columns = columns;
    this.#rows = rows;
    this.#clock = clock;
    this.#sessions = clock.daily ? sessionsOfDates(columns.t) : findSessions(columns.t, clock.minutes);
  }

  /** Return the finest size of which there are at most `target` buckets. */
  finest(target: number): number {
    const count = this.#rows.last - this.#rows.first;
    for (const size of sizes(this.#clock)) {
      if (size < SESSION && count * this.#clock.minutes > target * size) continue;
      const touched = this.#touched(this.#cut(size));
      if (touched.last - touched.first <= target) return size;
    }
    throw new RangeError(`${count} bars do not fit ${target} points in any size`);
  }

  /** Return one bar for each bucket, and how many bars these were made from. */
  merged(size: number): { columns: Columns; sources: number } {
    const cut = this.#cut(size);
    const touched = this.#touched(cut);
    const end = cut.first[touched.last] ?? this.#columns.t.length;
    return { columns: merge(this.#columns, cut, touched), sources: end - (cut.first[touched.first] as number) };
  }

  /** Return the first and the last date, in days since the epoch, that the buckets of a size are made of. */
  dates(size: number): [number, number] {
    const first = this.#sessionOf(this.#rows.first).day;
    const last = this.#sessionOf(this.#rows.last - 1).day;
    return size <= SESSION ? [first, last] : [spanStart(first, size), nextSpan(last, size) - 1];
  }

  /** Return when the last bucket is over: at the latest, where its session ends by no rule. */
  end(size: number): number {
    const row = this.#rows.last - 1;
    const session = this.#sessionOf(row);
    const close = session.open + session.minutes * 60;
    const regular = !this.#clock.extended && !this.#clock.daily;
    if (size >= SESSION || this.#clock.daily) {
      const over = midnightOfDay(nextSpan(session.day, Math.max(size, SESSION)));
      return regular && size <= SESSION ? Math.min(over, close) : over;
    }
    const cut = this.#cut(size);
    const stamp = cut.stamps[lastIndexAtOrBefore(cut.first, row)] as number;
    return regular && stamp < close ? Math.min(stamp + size * 60, close) : stamp + size * 60;
  }

  #sessionOf(row: number): Session {
    const firsts = this.#sessions.map(({ first }) => first);
    return this.#sessions[lastIndexAtOrBefore(firsts, row)] as Session;
  }

  #touched({ first }: Cut): Rows {
    return {
      first: lastIndexAtOrBefore(first, this.#rows.first),
      last: lastIndexAtOrBefore(first, this.#rows.last - 1) + 1,
    };
  }

  #cut(size: number): Cut {
    return size < SESSION
      ? cutMinutes(this.#columns.t, this.#sessions, size, this.#clock.minutes)
      : cutDays(this.#sessions, size, this.#clock);
  }
}

/** Return all bars in the finest buckets of which there are at most `target`. */
export function resample(columns: Columns, target: number, clock: Clock): { columns: Columns; stride: number } {
  const buckets = new Buckets(columns, { first: 0, last: columns.t.length }, clock);
  const stride = buckets.finest(target);
  return { columns: buckets.merged(stride).columns, stride };
}

function sizes({ minutes, finest, daily }: Clock): number[] {
  const least = Math.max(minutes + 1, finest);
  const inner = daily ? [] : MINUTES.filter((size) => size >= least && size % minutes === 0);
  return [...inner, ...SPANS.filter((span) => !daily || span !== SESSION)];
}

function cutDays(sessions: readonly Session[], span: number, clock: Clock): Cut {
  const cut: Cut = { first: [], stamps: [] };
  let last: number | undefined;
  for (const { first, day, begin } of sessions) {
    const start = spanStart(day, span);
    if (start === last) continue;
    last = start;
    cut.first.push(first);
    if (clock.daily) cut.stamps.push(start * DAY);
    else if (!clock.extended) cut.stamps.push(openOfDay(start));
    else cut.stamps.push(span === SESSION ? begin : midnightOfDay(start));
  }
  return cut;
}

function spanStart(day: number, span: number): number {
  if (span === SESSION) return day;
  // 1970-01-01 was a Thursday; weeks begin on Monday.
  if (span === WEEK) return Math.floor((day + 3) / 7) * 7 - 3;
  const date = new Date(day * DAY * 1000);
  const months = MONTHS[span] ?? 1;
  return Date.UTC(date.getUTCFullYear(), Math.floor(date.getUTCMonth() / months) * months) / (DAY * 1000);
}

/** Return the first day after the session, week, month, quarter or year of a day. */
function nextSpan(day: number, span: number): number {
  return spanStart(spanStart(day, span) + (LONGEST[span] ?? 1), span);
}

/**
 * Buckets count from the open, backwards before it, and again from an early close: from the first bar that begins at it
 * or after it, for an hour reaches over it.
 */
function cutMinutes(times: readonly number[], sessions: readonly Session[], size: number, minutes: number): Cut {
  const cut: Cut = { first: [], stamps: [] };
  for (const [index, session] of sessions.entries()) {
    const { open, begin } = session;
    const early = session.minutes !== REGULAR_MINUTES;
    const close = Math.ceil(session.minutes / minutes) * minutes;
    const end = sessions[index + 1]?.first ?? times.length;
    let last = Number.NaN;
    for (let row = session.first; row < end; row++) {
      const minute = Math.floor(((times[row] as number) - open) / 60);
      const anchor = early && minute >= close ? close : 0;
      const offset = Math.floor((minute - anchor) / size) * size + anchor;
      if (offset === last) continue;
      last = offset;
      cut.first.push(row);
      // The first bucket of a session that trades around the clock begins with it, not in the one before.
      cut.stamps.push(Math.max(open + offset * 60, begin));
    }
  }
  return cut;
}

function merge({ t, o, h, l, c, v }: Columns, { first, stamps }: Cut, touched: Rows): Columns {
  const merged: Columns = { t: stamps.slice(touched.first, touched.last), o: [], h: [], l: [], c: [], v: [] };
  for (let bucket = touched.first; bucket < touched.last; bucket++) {
    const start = first[bucket] as number;
    const end = first[bucket + 1] ?? t.length;
    let high = h[start] as number;
    let low = l[start] as number;
    let volume: number | null = null;
    for (let row = start; row < end; row++) {
      high = Math.max(high, h[row] as number);
      low = Math.min(low, l[row] as number);
      const more = v[row];
      if (more != null) volume = (volume ?? 0) + more;
    }
    merged.o.push(o[start] as number);
    merged.h.push(high);
    merged.l.push(low);
    merged.c.push(c[end - 1] as number);
    merged.v.push(volume);
  }
  return merged;
}
