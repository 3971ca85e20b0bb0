import { describe, expect, test } from "vitest";
import {
  clamp,
  daysAround,
  daysToLoad,
  RANGES,
  shiftSpan,
  spanOfDays,
  spanOfRange,
  timeframeFor,
  zoomSpan,
} from "../../src/charts/chart-window.ts";
import { indexAt, timeAt } from "../../src/charts/scale.ts";

const at = (text: string) => Date.parse(text) / 1000;
const span = (from: string, to: string) => ({ from: at(from), to: at(to) });
const YEAR = spanOfDays({ from: "2024-01-01", to: "2024-12-31" });

describe("days to load", () => {
  test("cover what is visible and half as much on either side, inside the run", () => {
    expect(daysAround(span("2024-06-10", "2024-06-14"), YEAR)).toEqual({ from: "2024-06-08", to: "2024-06-16" });
    expect(daysAround(YEAR, YEAR)).toEqual({ from: "2024-01-01", to: "2024-12-31" });
  });

  test("stay as they are while they serve", () => {
    const loaded = { from: "2024-06-08", to: "2024-06-16", decimated: false };
    expect(daysToLoad(span("2024-06-11", "2024-06-13"), loaded, YEAR)).toBeUndefined();
    expect(daysToLoad(span("2024-06-09", "2024-06-15"), loaded, YEAR)).toBeUndefined();
  });

  test("become others when the view leaves them", () => {
    const loaded = { from: "2024-06-08", to: "2024-06-16", decimated: false };
    expect(daysToLoad(span("2024-06-18", "2024-06-20"), loaded, YEAR)).toEqual({
      from: "2024-06-17",
      to: "2024-06-21",
    });
  });

  test("become fewer, and so finer, when the view is much narrower than decimated bars were loaded for", () => {
    const loaded = { from: "2024-01-01", to: "2024-12-31", decimated: true };
    expect(daysToLoad(span("2024-06-10", "2024-06-14"), loaded, YEAR)).toEqual({
      from: "2024-06-08",
      to: "2024-06-16",
    });
    expect(daysToLoad(span("2024-06-10", "2024-06-14"), { ...loaded, decimated: false }, YEAR)).toBeUndefined();
  });

  test("reach over a weekend where the view runs out of bars", () => {
    const loaded = { from: "2024-06-10", to: "2024-06-12", decimated: false };
    const seen = span("2024-06-10T12:00Z", "2024-06-11T12:00Z");
    const next = daysToLoad(seen, loaded, YEAR, { left: true, right: false });
    expect(next?.from).toBe("2024-06-06");
    expect(daysToLoad(seen, loaded, spanOfDays(loaded), { left: true, right: false })).toBeUndefined();
  });
});

describe("ranges", () => {
  test("lie inside the run and are as long as they say", () => {
    for (const { days } of RANGES) {
      const chosen = spanOfRange(days, YEAR, YEAR);
      expect(chosen.from).toBeGreaterThanOrEqual(YEAR.from);
      expect(chosen.to).toBeLessThanOrEqual(YEAR.to);
      if (days < 366) expect(chosen.to - chosen.from).toBe(days * 86_400);
    }
  });

  test("are centred on what is visible, and choose their timeframe", () => {
    const chosen = spanOfRange(7, span("2024-06-01", "2024-06-30"), YEAR);
    expect((chosen.from + chosen.to) / 2).toBe((at("2024-06-01") + at("2024-06-30")) / 2);
    expect(timeframeFor(chosen)).toBe("5M");
    expect(timeframeFor(spanOfRange(92, YEAR, YEAR))).toBe("1H");
    expect(timeframeFor(YEAR)).toBe("1D");
  });

  test("outside of the run move to its edge", () => {
    expect(clamp(span("2030-01-01", "2030-02-01"), YEAR)).toEqual({ from: YEAR.to - 86_400, to: YEAR.to });
  });
});

describe("steps", () => {
  const june = span("2024-06-10", "2024-06-14");

  test("move by a share of what is visible", () => {
    expect(shiftSpan(june, -0.5)).toEqual(span("2024-06-08", "2024-06-12"));
    expect(shiftSpan(shiftSpan(june, 0.25), -0.25)).toEqual(june);
  });

  test("zoom about the middle, down to an hour and up to the run", () => {
    expect(zoomSpan(june, 0.5, YEAR)).toEqual(span("2024-06-11", "2024-06-13"));
    expect(zoomSpan(june, 1e6, YEAR)).toEqual(YEAR);
    expect(zoomSpan(june, 1e-6, YEAR)).toEqual(span("2024-06-11T23:30Z", "2024-06-12T00:30Z"));
  });
});

describe("the axis", () => {
  const times = [100, 160, 220, 1000, 1060];

  test.each([-3, 0, 0.5, 2.25, 3.5, 4, 9])("gives back index %f from its time", (index) => {
    expect(indexAt(times, timeAt(times, index) ?? Number.NaN)).toBeCloseTo(index, 9);
  });

  test("of no bars has no times", () => {
    expect(timeAt([], 0)).toBeUndefined();
    expect(indexAt([], 0)).toBeUndefined();
  });
});
