/**
 * The US session calendar. A session is a date in New York, counted in days since the epoch; regular hours are 09:30 to
 * 16:00 there, 13:00 on early closes (NYSE Rule 7.2), and before 2004 as the exchange decided. Times are UTC seconds.
 */

import { EARLY_CLOSES } from "../generated/early-closes.ts";
import { DAY } from "./time.ts";

export const ZONE = "America/New_York";
export const REGULAR_MINUTES = 390;
const EARLY_MINUTES = 210;
const OPEN = 9.5 * 3600;
/** The first day on which the rule for early closes is right; for days before there is a table. */
const RULE_SINCE = dayOf("2004-01-01");
const HOUR = 3600;

let earlyCloses: Map<number, number> | undefined;
let zone: Intl.DateTimeFormat | undefined;
const offsets = new Map<number, number>();

/** Return how many seconds New York is ahead of UTC (a negative number). Offsets change on the hour. */
export function newYorkOffset(seconds: number): number {
  const hour = Math.floor(seconds / HOUR);
  let known = offsets.get(hour);
  if (known === undefined) {
    zone ??= new Intl.DateTimeFormat("en-US", { timeZone: ZONE, timeZoneName: "longOffset" });
    const name = zone.formatToParts(hour * HOUR * 1000).find(({ type }) => type === "timeZoneName")?.value ?? "";
    const [, sign, hours, minutes] = /([+-])(\d\d):?(\d\d)?/.exec(name) ?? [];
    known = (sign === "-" ? -1 : 1) * (Number(hours ?? 0) * HOUR + Number(minutes ?? 0) * 60);
    if (offsets.size > 50_000) offsets.clear();
    offsets.set(hour, known);
  }
  return known;
}

/** Return the date in New York, in days since the epoch, of a moment in UTC seconds. */
export function sessionDay(seconds: number): number {
  return Math.floor((seconds + newYorkOffset(seconds)) / DAY);
}

/** Return UTC seconds of midnight in New York on a day. */
export function midnightOfDay(day: number): number {
  return local(day * DAY);
}

/** Return UTC seconds of 09:30 in New York on a day. */
export function openOfDay(day: number): number {
  return local(day * DAY + OPEN);
}

/** Return the UTC seconds at which New York's clocks show these seconds. */
function local(seconds: number): number {
  const guess = seconds - newYorkOffset(seconds);
  return seconds - newYorkOffset(guess);
}

/** Return how many minutes regular hours have on a day; on weekends and holidays, how many they would have. */
export function sessionMinutes(day: number): number {
  return (day < RULE_SINCE ? tabled().get(day) : byRule(day)) ?? REGULAR_MINUTES;
}

/** Return the minutes of the days before 2004 that ended early, by day. */
function tabled(): Map<number, number> {
  if (earlyCloses === undefined) {
    earlyCloses = new Map();
    for (const [minutes, spans] of Object.entries(EARLY_CLOSES)) {
      for (const span of spans.trim().split(/\s+/)) {
        const [first = "", last = first] = span.split("/");
        for (let day = dayOf(first); day <= dayOf(last); day += 1) earlyCloses.set(day, Number(minutes));
      }
    }
  }
  return earlyCloses;
}

function dayOf(date: string): number {
  return Date.parse(date) / 1000 / DAY;
}

/** Return the minutes of a day since 2004: the day after Thanksgiving, 3 July and 24 December may end early. */
function byRule(day: number): number {
  const date = new Date(day * DAY * 1000);
  const month = date.getUTCMonth() + 1;
  const number = date.getUTCDate();
  const weekday = date.getUTCDay();
  const eve = (month === 7 && number === 3) || (month === 12 && number === 24);
  // Thanksgiving is November's fourth Thursday, so the Friday after it falls on the 23rd to the 29th.
  const early = eve ? weekday >= 1 && weekday <= 4 : month === 11 && weekday === 5 && number >= 23 && number <= 29;
  return early ? EARLY_MINUTES : REGULAR_MINUTES;
}

/** Return 09:30 New York of the session on whose date a moment falls, in UTC seconds. */
export function sessionOpen(seconds: number): number {
  return openOfDay(sessionDay(seconds));
}

/** The bar that a moment lies in: its start, and from when to before when moments lie in the same one. */
export interface BarSpan {
  t: number;
  begin: number;
  end: number;
}

/**
 * Return the span of the bar of `size` in which a moment lies: minutes counted from the open, backwards before it, and anew
 * from an early close, never across midnight in New York; from a whole session on, the session.
 */
export function barSpan(seconds: number, size: number | "session"): BarSpan {
  const day = sessionDay(seconds);
  const opened = openOfDay(day);
  const midnight = midnightOfDay(day);
  const next = midnightOfDay(day + 1);
  if (size === "session" || size >= REGULAR_MINUTES) return { t: opened, begin: midnight, end: next };
  const minutes = sessionMinutes(day);
  const close = minutes === REGULAR_MINUTES ? next : opened + minutes * 60;
  const isLate = seconds >= close;
  const anchor = isLate ? close : opened;
  const width = size * 60;
  const start = anchor + Math.floor((seconds - anchor) / width) * width;
  const begin = Math.max(start, isLate ? close : midnight);
  return { t: begin, begin, end: Math.min(start + width, isLate ? next : close) };
}
