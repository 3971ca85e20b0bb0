/** Which days of bars to ask for as the visible range moves. Pure; times in UTC seconds. */

import type { Run, Timeframe } from "bff-client";
import { DAY, parseTime } from "bff-client/lib/time";
import { endOfDay, utcDay } from "../lib/time.ts";
import { timeframeForDays } from "../lib/timeframes.ts";

/** How much is loaded beyond each edge of what is visible, as a share of it. */
const MARGIN = 0.5;
/** Decimated bars are replaced by finer ones once the view is narrower than what was loaded by this factor. */
const REFINE_FACTOR = 2.5;

export interface Span {
  from: number;
  to: number;
}

/** Days to ask for, both included. */
export interface Days {
  from: string;
  to: string;
}

/** Edges of the view that lie beyond the bars that are loaded. */
export interface Beyond {
  left: boolean;
  right: boolean;
}

export interface Loaded extends Days {
  decimated: boolean;
}

export const spanOfDays = (days: Days): Span => ({ from: parseTime(days.from) ?? 0, to: endOfDay(days.to) });
/** Return the span of a run's window; from 1970 on where it is not known. */
export const runBounds = ({ run_from, run_to }: Pick<Run, "run_from" | "run_to">): Span => ({
  from: parseTime(run_from?.slice(0, 10)) ?? 0,
  to: endOfDay(run_to?.slice(0, 10) ?? "1970-01-02"),
});
const width = (span: Span) => span.to - span.from;

/** Cut a span to its bounds; one that lies outside moves to the nearest edge and is a day wide at least. */
export function clamp(span: Span, bounds: Span): Span {
  const from = Math.min(Math.max(span.from, bounds.from), Math.max(bounds.from, bounds.to - DAY));
  const to = Math.max(Math.min(span.to, bounds.to), Math.min(bounds.to, from + DAY));
  return { from, to };
}

/** Return the days to load for a visible span: it and a margin on either side, inside the bounds. */
export function daysAround(visible: Span, bounds: Span): Days {
  const margin = width(visible) * MARGIN;
  const wanted = clamp({ from: visible.from - margin, to: visible.to + margin }, bounds);
  return { from: utcDay(wanted.from), to: utcDay(wanted.to) };
}

/** Days that are added at least where the view runs out of bars: a long weekend holds none. */
const REACH = 4 * DAY;
const earlier = (one: string, other: string) => (one < other ? one : other);
const later = (one: string, other: string) => (one > other ? one : other);

/** Return the days to load next, or undefined while what is loaded still serves what is visible. */
export function daysToLoad(
  visible: Span,
  loaded: Loaded,
  bounds: Span,
  beyond: Beyond = { left: false, right: false },
): Days | undefined {
  const seen = clamp(visible, bounds);
  const have = spanOfDays(loaded);
  const lacking = {
    left: beyond.left && have.from > bounds.from,
    right: beyond.right && have.to < bounds.to,
  };
  const covered = seen.from >= have.from - DAY && seen.to <= have.to + DAY && !lacking.left && !lacking.right;
  const usual = daysAround(seen, bounds);
  const wanted = {
    from: lacking.left ? earlier(usual.from, utcDay(Math.max(bounds.from, have.from - REACH))) : usual.from,
    to: lacking.right ? later(usual.to, utcDay(Math.min(bounds.to, have.to + REACH))) : usual.to,
  };
  const coarse = loaded.decimated && width(have) > REFINE_FACTOR * width(spanOfDays(wanted));
  if (covered && !coarse) return undefined;
  return wanted.from === loaded.from && wanted.to === loaded.to ? undefined : wanted;
}

export const RANGES = [
  { label: "1D", words: "one day", days: 1 },
  { label: "1W", words: "one week", days: 7 },
  { label: "1 mo", words: "one month", days: 31 },
  { label: "3 mo", words: "three months", days: 92 },
  { label: "1Y", words: "one year", days: 366 },
  { label: "All", words: "the whole run", days: Number.POSITIVE_INFINITY },
] as const;

/** Return a span of so many days about the middle of what is visible, or at the run's end from the whole run. */
export function spanOfRange(days: number, visible: Span, bounds: Span): Span {
  if (days * DAY >= width(bounds)) return bounds;
  const whole = visible.from <= bounds.from + DAY && visible.to >= bounds.to - DAY;
  const middle = whole ? bounds.to - (days * DAY) / 2 : (visible.from + visible.to) / 2;
  const from = Math.max(bounds.from, Math.min(middle - (days * DAY) / 2, bounds.to - days * DAY));
  return { from: Math.round(from), to: Math.round(from + days * DAY) };
}

/** Return a span moved by a share of its width. */
export function shiftSpan({ from, to }: Span, share: number): Span {
  const by = Math.round((to - from) * share);
  return { from: from + by, to: to + by };
}

const NARROWEST = 3600;

/** Return a span widened (or narrowed) by a factor about its middle, within its bounds. */
export function zoomSpan(span: Span, factor: number, bounds: Span): Span {
  const middle = (span.from + span.to) / 2;
  const half = Math.max(NARROWEST, width(span) * factor) / 2;
  return { from: Math.round(Math.max(bounds.from, middle - half)), to: Math.round(Math.min(bounds.to, middle + half)) };
}

/** Return the timeframe that suits a span. */
export function timeframeFor(span: Span): Timeframe {
  return timeframeForDays(width(span) / DAY);
}
