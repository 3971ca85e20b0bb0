/**
 * New York shown, UTC sent. Times are whole seconds since 1970 (UTC) unless a name says otherwise; days are
 * `YYYY-MM-DD` in UTC, as the API takes them. Pure.
 */

const ZONE = "America/New_York";
const DAY = 86_400;
/** Regular trading begins at 09:30 New York. */
const OPEN_MINUTE = 9 * 60 + 30;

const styles = {
  date: { year: "numeric", month: "short", day: "numeric" },
  day: { month: "short", day: "numeric" },
  month: { month: "short", year: "2-digit" },
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

const parts = new Intl.DateTimeFormat("en-US", {
  timeZone: ZONE,
  hourCycle: "h23",
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
});

let offsetHour = Number.NaN;
let offsetOfHour = 0;

/** Return how far New York is ahead of UTC, in seconds (so it is negative); clocks change on the hour. */
export function newYorkOffset(seconds: number): number {
  const hour = Math.floor(seconds / 3600);
  if (hour !== offsetHour) {
    const read: Record<string, number> = {};
    for (const { type, value } of parts.formatToParts(hour * 3_600_000)) read[type] = Number(value);
    const { year = 1970, month = 1, day = 1, hour: clock = 0, minute = 0 } = read;
    offsetOfHour = Date.UTC(year, month - 1, day, clock, minute) / 1000 - hour * 3600;
    offsetHour = hour;
  }
  return offsetOfHour;
}

/** Return the opening (09:30 New York) of the session on whose New York date the time falls. */
export function sessionOpen(seconds: number): number {
  const local = seconds + newYorkOffset(seconds);
  const opening = Math.floor(local / DAY) * DAY + OPEN_MINUTE * 60;
  return opening - newYorkOffset(opening - newYorkOffset(seconds));
}

/** Return the start of the bar of `minutes` that a time falls in: counted from the opening, never across sessions. */
export function barStart(seconds: number, minutes: number): number {
  const opening = sessionOpen(seconds);
  if (minutes >= 390) return opening;
  const size = minutes * 60;
  return opening + Math.floor((seconds - opening) / size) * size;
}

/** Return the seconds of an ISO 8601 time (UTC where it names no zone) or of a day; undefined if it is neither. */
export function parseTime(text: string | null | undefined): number | undefined {
  if (!text) return undefined;
  const zoned = /T.*(Z|[+-]\d\d:?\d\d)$/.test(text) || !text.includes("T") ? text : `${text}Z`;
  const milliseconds = Date.parse(zoned);
  return Number.isFinite(milliseconds) ? Math.floor(milliseconds / 1000) : undefined;
}

/** Return a time as the API takes it, `2024-01-02T14:30:00Z`. */
export function isoTime(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
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
