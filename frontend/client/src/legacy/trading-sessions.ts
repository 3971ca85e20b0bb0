/**
 * Which session each bar belongs to: a date in New York, or, where the date before has bars after 20:00, what follows
 * its longest pause too. The BFF has the same rules (`charts/sessions.py`). Times are UTC seconds.
 */

import { midnightOfDay, newYorkOffset, openOfDay, REGULAR_MINUTES, sessionMinutes } from "../lib/sessions.ts";
import { DAY } from "../lib/time.ts";

const HALF_HOUR = 1800;
/** Seconds of New York's day. */
const OPEN = 9.5 * 3600;
const NOON = 12 * 3600;
const NIGHT = 20 * 3600;

/** A session from row `first` on: when it begins, where its buckets are anchored, how many regular minutes it has. */
export interface Session {
  first: number;
  /** Days since the epoch. */
  day: number;
  begin: number;
  open: number;
  minutes: number;
}

/** Rows of a date that belong to the next date's session, and the seconds of the day at which that begins. */
interface Evening {
  first: number;
  last: number;
  begin: number;
}

/** Return one session for each stamp of a daily bar. */
export function sessionsOfDates(t: readonly number[]): Session[] {
  return t.map((seconds, first) => {
    const day = Math.floor(seconds / DAY);
    return { first, day, begin: seconds, open: seconds, minutes: REGULAR_MINUTES };
  });
}

/** Return the sessions of ascending times, the starts of bars of so many minutes. */
export function findSessions(t: readonly number[], minutes: number): Session[] {
  const local = t.map((seconds) => seconds + newYorkOffset(seconds));
  const dates = local.map((seconds) => Math.floor(seconds / DAY));
  const times = local.map((seconds, row) => seconds - (dates[row] as number) * DAY);
  const days = [...dates];
  const begins = new Map<number, number>();
  for (const { first, last, begin } of findEvenings(dates, times, minutes * 60)) {
    const day = (dates[first] as number) + 1;
    days.fill(day, first, last);
    begins.set(day, (t[first] as number) - (times[first] as number) + begin);
  }
  const found: Session[] = [];
  let last: Session | undefined;
  for (const [row, day] of days.entries()) {
    if (last?.day !== day) {
      const begun = begins.get(day);
      last = {
        first: row,
        day,
        begin: begun ?? midnightOfDay(day),
        open: begun ?? openOfDay(day),
        // Early closes mean nothing to what began the evening before.
        minutes: begun === undefined ? sessionMinutes(day) : REGULAR_MINUTES,
      };
      found.push(last);
    }
  }
  return found;
}

/** Tell whether all times lie in regular hours, 09:30 to 16:00 in New York. */
export function areRegular(t: readonly number[]): boolean {
  return t.every((seconds) => {
    const local = seconds + newYorkOffset(seconds);
    const time = local - Math.floor(local / DAY) * DAY;
    return time >= OPEN && time < OPEN + REGULAR_MINUTES * 60;
  });
}

/** Of a date that trades after 20:00 the last of the longest pauses counts, if it takes half an hour and ends in the afternoon. */
function findEvenings(dates: readonly number[], times: readonly number[], length: number): Evening[] {
  const found: Evening[] = [];
  for (let first = 0, last = 0; first < dates.length; first = last) {
    let longest = 0;
    let begin = first;
    let late = false;
    for (last = first; dates[last] === dates[first] && last < dates.length; last++) {
      const time = times[last] as number;
      const pause = last === first ? time : time - (times[last - 1] as number) - length;
      if (pause >= longest || last === first) [longest, begin] = [pause, last];
      if (time >= NIGHT) late = true;
    }
    const time = times[begin] as number;
    if (late && longest >= HALF_HOUR && time >= NOON) {
      found.push({ first: begin, last, begin: Math.floor(time / HALF_HOUR) * HALF_HOUR });
    }
  }
  return found;
}
