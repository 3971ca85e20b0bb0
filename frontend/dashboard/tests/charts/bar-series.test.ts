import { expect, test } from "vitest";
import { barSeries } from "../../src/charts/bar-series.ts";

test("a bar without volume is a candle, and a gap in the volumes", () => {
  const columns = { t: [60, 120, 180], o: [1, 2, 3], h: [2, 3, 4], l: [0, 1, 2], c: [2, 1, 3], v: [0.3, null, 5] };
  const { candles, volumes } = barSeries(columns, "green", "red");
  expect(candles).toEqual([
    { time: 60, open: 1, high: 2, low: 0, close: 2 },
    { time: 120, open: 2, high: 3, low: 1, close: 1 },
    { time: 180, open: 3, high: 4, low: 2, close: 3 },
  ]);
  expect(volumes).toEqual([
    { time: 60, value: 0.3, color: "green" },
    { time: 120 },
    { time: 180, value: 5, color: "green" },
  ]);
});
