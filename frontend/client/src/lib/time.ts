/** Times of the API: ISO 8601 text, UTC where it names no zone. */

/** Seconds of a day. */
export const DAY = 86_400;
const ZONED = /(?:Z|[+-]\d\d:?\d\d)$/i;

/** Return milliseconds since the epoch of an ISO 8601 time or date; NaN for anything else. */
export function parseTimeMs(value: unknown): number {
  if (typeof value !== "string") return Number.NaN;
  // Without an offset `Date.parse` takes a time for the browser's own, a date for UTC.
  return Date.parse(value.length > 10 && !ZONED.test(value) ? `${value}Z` : value);
}

/** Return whole seconds since the epoch of an ISO 8601 time or date; undefined for anything else. */
export function parseTime(text: string | null | undefined): number | undefined {
  const ms = parseTimeMs(text);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}

/** Return a time as the API writes it, `2025-01-02T14:31:00Z`. */
export function isoTime(seconds: number): string {
  return isoTimeMs(Math.floor(seconds) * 1000);
}

/** The same from milliseconds, which it shows where there are any. */
export function isoTimeMs(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
