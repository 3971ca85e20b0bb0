/**
 * The US session calendar. A session is a date in New York, counted in days since the epoch; regular hours are 09:30 to
 * 16:00 there, 13:00 on early closes (NYSE Rule 7.2). Times are UTC seconds.
 */

import { DAY } from "./time.ts";

export const ZONE = "America/New_York";
export const REGULAR_MINUTES = 390;
const EARLY_MINUTES = 210;
const OPEN = 9.5 * 3600;
const HOUR = 3600;

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

/** Return how long regular hours are on a day: the day after Thanksgiving, 3 July and 24 December may end early. */
export function sessionMinutes(day: number): number {
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
