/**
 * New York shown, UTC sent. Times are whole seconds since 1970 (UTC) unless a name says otherwise; days are
 * `YYYY-MM-DD` in UTC, as the API takes them. Pure.
 */

import { barSpan, ZONE } from "bff-client/lib/sessions";
import { DAY, parseTime } from "bff-client/lib/time";

const styles = {
  date: { year: "numeric", month: "short", day: "numeric" },
  day: { month: "short", day: "numeric" },
  month: { month: "short", year: "numeric" },
  year: { year: "numeric" },
  time: { hour: "2-digit", minute: "2-digit" },
  minute: { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
  full: { weekday: "short", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
} satisfies Record<string, Intl.DateTimeFormatOptions>;

export type TimeStyle = keyof typeof styles;

const formats = new Map<TimeStyle, Intl.DateTimeFormat>();

/** Return a time as New York's clocks and calendars show it. */
export function newYork(seconds: number, style: TimeStyle = "minute"): string {
  let format = formats.get(style);
  if (!format) {
    format = new Intl.DateTimeFormat("en-US", { ...styles[style], timeZone: ZONE, hourCycle: "h23" });
    formats.set(style, format);
  }
  return format.format(seconds * 1000);
}

/** Return the start of the bar of `minutes` that a time falls in: counted from the opening, never across sessions. */
export function barStart(seconds: number, minutes: number): number {
  return barSpan(seconds, minutes).t;
}

/** Return the UTC day of a time. */
export function utcDay(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

/** Return the last second of a UTC day. */
export function endOfDay(day: string): number {
  return (parseTime(day) ?? 0) + DAY - 1;
}

/** Return a day in words without any zone: a run's window is made of days, not of instants. */
export function dayInWords(day: string | null | undefined): string {
  const seconds = parseTime(day?.slice(0, 10));
  return seconds === undefined
    ? "–"
    : new Date(seconds * 1000).toLocaleDateString("en-US", { ...styles.date, timeZone: "UTC" });
}
