import { expect, test } from "vitest";
import { RANGES } from "../../src/charts/chart-window.ts";
import { formatRoute, parseRoute, runRoute } from "../../src/lib/route.ts";
import {
  barSizeInWords,
  parseTimeframe,
  TIMEFRAMES,
  timeframeForBars,
  timeframeForDays,
} from "../../src/lib/timeframes.ts";

test("no timeframe is called as a range of the same toolbar is, whatever the case", () => {
  const ranges = RANGES.map(({ label }) => label.toLowerCase());
  for (const { label, address } of TIMEFRAMES) {
    expect(ranges).not.toContain(label.toLowerCase());
    expect(address).not.toBe("1M");
  }
});

test("an address calls a minute 1min, and one from before, 1M, still opens the minutes", () => {
  expect(formatRoute({ ...runRoute("a"), timeframe: "1M" })).toBe("/?run=a&tf=1min");
  for (const tf of ["1min", "1M"]) expect(parseRoute(`?run=a&tf=${tf}`)).toMatchObject({ timeframe: "1M" });
  for (const tf of ["5min", "5M"]) expect(parseTimeframe(tf)).toBe("5M");
  for (const tf of ["1h", "1H"]) expect(parseTimeframe(tf)).toBe("1H");
  for (const tf of ["1d", "1D", "2M", null]) expect(parseTimeframe(tf)).toBe("1D");
});

test("a span is drawn in the finest timeframe that suits it", () => {
  const days = [1, 3, 4, 14, 15, 120, 121, 4000];
  expect(days.map(timeframeForDays)).toEqual(["1M", "1M", "5M", "5M", "1H", "1H", "1D", "1D"]);
});

test("bars are put together from the coarsest timeframe that divides them", () => {
  expect([1, 5, 15, 60, 390].map(timeframeForBars)).toEqual(["1M", "5M", "5M", "1H", "1D"]);
});

test("sizes of bars are written in minutes, hours and sessions", () => {
  expect([1, 15, 60, 180, 390, 1950].map(barSizeInWords)).toEqual([
    "1 min",
    "15 min",
    "1 h",
    "3 h",
    "1 session",
    "5 sessions",
  ]);
});
