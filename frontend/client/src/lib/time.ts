/** Times as the backend writes them. */

export const DAY = 86_400;
const ZONED = /(?:Z|[+-]\d\d:?\d\d)$/i;

/** Return milliseconds since the epoch of an ISO 8601 time, UTC unless it says otherwise; NaN for what is none. */
export function instant(value: unknown): number {
  if (typeof value !== "string") return Number.NaN;
  // A time without an offset would be read as the browser's own, a date as UTC.
  return Date.parse(value.length > 10 && !ZONED.test(value) ? `${value}Z` : value);
}

/** Return a time as `2025-01-02T14:31:00Z`. */
export function stamp(ms: number): string {
  return new Date(ms).toISOString().replace(".000Z", "Z");
}
