/**
 * Fewer bars that tell the same: first open, highest high, lowest low, last close, summed volume. Buckets are anchored
 * at each session's open and cross none; the finest size that fits is taken.
 */

import { midnightOfDay, openOfDay, REGULAR_MINUTES, sessionDay, sessionMinutes } from "../lib/sessions.ts";
import { DAY } from "../lib/time.ts";
import type { Columns } from "../types.ts";

const MINUTES = [1, 2, 3, 5, 10, 13, 15, 26, 30, 39, 60, 120, 180];
/** Sizes of whole sessions, in nominal minutes of trading: session, week, month, quarter, year. */
const SESSION = REGULAR_MINUTES;
const WEEK = SESSION * 5;
const SPANS = [SESSION, WEEK, SESSION * 21, SESSION * 63, SESSION * 252];
const MONTHS: Record<number, number> = { [SESSION * 21]: 1, [SESSION * 63]: 3, [SESSION * 252]: 12 };

/** What the bars of one source mean: their length in minutes; dates or moments; a whole day or regular hours. */
export interface Clock {
  minutes: number;
  /** No bucket is shorter than so many minutes. */
  finest: number;
  daily: boolean;
  extended: boolean;
}

/** Bars of `stride` minutes of trading; `decimated` if these are more than the finest that was asked for. */
export interface Resampled {
  columns: Columns;
  decimated: boolean;
  stride: number;
}

/** Where buckets begin, and their stamps. */
interface Cut {
  first: number[];
  stamps: number[];
}

export function resample(columns: Columns, target: number, clock: Clock): Resampled {
  const count = columns.t.length;
  const finest = Math.max(clock.finest, clock.minutes);
  if (!count || (finest === clock.minutes && count <= target)) return { columns, decimated: false, stride: finest };
  const days = columns.t.map(clock.daily ? (t) => Math.floor(t / DAY) : sessionDay);
  for (const size of sizes(clock)) {
    if (size < SESSION && count * clock.minutes > target * size) continue;
    const cut = size < SESSION ? cutMinutes(columns.t, days, size, clock.minutes) : cutDays(days, size, clock);
    if (cut.first.length <= target) return { columns: merge(columns, cut), decimated: size > finest, stride: size };
  }
  throw new RangeError(`${count} bars do not fit ${target} points in any size`);
}

function sizes({ minutes, finest, daily }: Clock): number[] {
  const least = Math.max(minutes + 1, finest);
  const inner = daily ? [] : MINUTES.filter((size) => size >= least && size % minutes === 0);
  return [...inner, ...SPANS.filter((span) => !daily || span !== SESSION)];
}

function cutDays(days: number[], span: number, clock: Clock): Cut {
  const cut: Cut = { first: [], stamps: [] };
  let last: number | undefined;
  for (const [row, day] of days.entries()) {
    const start = spanStart(day, span);
    if (start === last) continue;
    last = start;
    cut.first.push(row);
    cut.stamps.push(clock.daily ? start * DAY : clock.extended ? midnightOfDay(start) : openOfDay(start));
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

/**
 * Buckets count from the open, backwards before it, and again from an early close: from the first bar that begins at it
 * or after it, for an hour reaches over it.
 */
function cutMinutes(times: number[], days: number[], size: number, minutes: number): Cut {
  const cut: Cut = { first: [], stamps: [] };
  let day = Number.NaN;
  let opened = 0;
  let begun = 0;
  let close = 0;
  let early = false;
  let last = Number.NaN;
  for (const [row, t] of times.entries()) {
    const isNew = days[row] !== day;
    if (isNew) {
      day = days[row] as number;
      opened = openOfDay(day);
      begun = midnightOfDay(day);
      const regular = sessionMinutes(day);
      early = regular !== REGULAR_MINUTES;
      close = Math.ceil(regular / minutes) * minutes;
    }
    const minute = Math.floor((t - opened) / 60);
    const anchor = early && minute >= close ? close : 0;
    const offset = Math.floor((minute - anchor) / size) * size + anchor;
    if (!isNew && offset === last) continue;
    last = offset;
    cut.first.push(row);
    // The first bucket of a day that trades around the clock begins with the day, not in the one before.
    cut.stamps.push(Math.max(opened + offset * 60, begun));
  }
  return cut;
}

function merge({ t, o, h, l, c, v }: Columns, { first, stamps }: Cut): Columns {
  const merged: Columns = { t: stamps, o: [], h: [], l: [], c: [], v: [] };
  for (const [bucket, start] of first.entries()) {
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
