import { newYorkOffset, sessionOpen } from "bff-client/lib/sessions";
import { isoTime, parseTime } from "bff-client/lib/time";
import { describe, expect, test } from "vitest";
import { withSessionTimes } from "../../src/charts/session-times.ts";
import { barStart, dayInWords, endOfDay, newYork, utcDay } from "../../src/lib/time.ts";

const at = (text: string) => Date.parse(text) / 1000;

describe("New York is shown, UTC is sent", () => {
  test("the opening is 09:30 on both sides of a change of the clocks", () => {
    expect(newYork(at("2024-11-01T13:30Z"), "time")).toBe("09:30");
    expect(newYork(at("2024-11-04T14:30Z"), "time")).toBe("09:30");
    expect(newYorkOffset(at("2024-11-03T05:59Z"))).toBe(-4 * 3600);
    expect(newYorkOffset(at("2024-11-03T06:00Z"))).toBe(-5 * 3600);
  });

  test("midnight is 00:00, and belongs to the day that begins", () => {
    expect(newYork(at("2024-07-02T04:00Z"), "full")).toBe("Tue, Jul 2, 2024, 00:00");
  });

  test.each(["2024-03-08", "2024-03-11", "2024-11-01", "2024-11-04"])("a session of %s opens at 09:30", (day) => {
    expect(newYork(sessionOpen(at(`${day}T17:00Z`)), "full")).toContain("09:30");
  });

  test("times are read as UTC unless they name a zone", () => {
    expect(parseTime("2024-01-02T14:30:00")).toBe(at("2024-01-02T14:30:00Z"));
    expect(parseTime("2024-01-02T14:30:00.250000+00:00")).toBe(at("2024-01-02T14:30:00Z"));
    expect(parseTime("2024-01-02")).toBe(at("2024-01-02T00:00Z"));
    expect(parseTime("soon")).toBeUndefined();
    expect(parseTime(null)).toBeUndefined();
  });

  test("days and times go out in UTC", () => {
    expect(isoTime(at("2024-01-02T14:30Z"))).toBe("2024-01-02T14:30:00Z");
    expect(utcDay(at("2024-01-02T23:59Z"))).toBe("2024-01-02");
    expect(utcDay(endOfDay("2024-02-29"))).toBe("2024-02-29");
    expect(dayInWords("2024-02-29")).toBe("Feb 29, 2024");
    expect(dayInWords(null)).toBe("–");
  });
});

describe("bars", () => {
  test.each([1, 5, 15, 60])("of %i minutes are counted from the opening", (minutes) => {
    const opening = at("2024-07-02T13:30Z");
    expect(barStart(opening, minutes)).toBe(opening);
    expect(barStart(opening + minutes * 60 - 1, minutes)).toBe(opening);
    expect(barStart(opening + minutes * 60, minutes)).toBe(opening + minutes * 60);
  });

  test("of a session start at its opening", () => {
    expect(barStart(at("2024-07-02T19:59Z"), 390)).toBe(at("2024-07-02T13:30Z"));
  });

  const chart = (source_timeframe: string, ...t: string[]) =>
    ({ columns: { t: t.map(at) }, metadata: { source_timeframe } }) as Parameters<typeof withSessionTimes>[0];

  test("of a day, stamped at midnight UTC, are drawn at that day's opening", () => {
    const days = withSessionTimes(chart("1D", "2024-07-02T00:00Z", "2024-12-02T00:00Z"));
    expect(days.columns.t).toEqual([at("2024-07-02T13:30Z"), at("2024-12-02T14:30Z")]);
  });

  test.each(["1M", "1H"])("of %s stay where they are around the clock, midnight included", (source) => {
    const nights = chart(source, "2024-07-01T23:59Z", "2024-07-02T00:00Z", "2024-07-02T00:01Z");
    expect(withSessionTimes(nights).columns.t).toEqual(nights.columns.t);
  });
});
