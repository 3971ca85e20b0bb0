import { expect, test } from "vitest";
import { periodsPerYear } from "../../../src/legacy/annualisation.ts";
import { readEquity } from "../../../src/legacy/equity.ts";
import { completeMetrics } from "../../../src/legacy/metrics.ts";
import type { Order } from "../../../src/types.ts";

const MINUTE = 60_000;
const NOTHING = {} as Parameters<typeof completeMetrics>[0];

/** Times of sessions of UTC days: each `minutes` from `opens`, for `length` minutes. */
function steps(first: string, days: number, minutes: number, opens: string, length: number, weekdays = 5): number[] {
  const found: number[] = [];
  for (let day = 0; day < days; day++) {
    const start = Date.parse(`${first}T${opens}:00Z`) + day * 1440 * MINUTE;
    if ((new Date(start).getUTCDay() + 6) % 7 >= weekdays) continue;
    for (let minute = 0; minute < length; minute += minutes) found.push(start + minute * MINUTE);
  }
  return found;
}

test.each([
  ["minutes", steps("2024-03-01", 28, 1, "14:30", 390), 252 * 390],
  ["hours", steps("2024-03-01", 28, 60, "14:30", 390), 252 * 7],
  ["days", steps("2024-03-01", 28, 1, "21:00", 1), 252],
  ["days of whole weeks", steps("2024-03-01", 28, 1, "00:00", 1, 7), 365],
  ["minutes around the clock", steps("2024-03-01", 10, 1, "00:00", 1440, 7), 365 * 1440],
  ["minutes around the clock, without a weekend", steps("2024-03-04", 4, 1, "00:00", 1440), null],
  ["weeks", steps("2024-03-01", 90, 1, "21:00", 1).filter((_, row) => row % 5 === 0), 52],
  ["one session", steps("2024-03-01", 1, 1, "14:30", 390), 252 * 390],
  ["a part of one", steps("2024-03-01", 1, 1, "14:30", 60), null],
  ["uneven", steps("2024-03-01", 60, 1, "21:00", 1).filter((_, row) => row % 5 < 2 || row % 7 === 3), null],
  ["two points", steps("2024-03-01", 4, 1, "21:00", 1), null],
])("a curve of %s has its number of returns in a year", (_, at, expected) => {
  expect(periodsPerYear(at)).toBe(expected);
});

test("a curve of days is annualised as one, with the deviation of the sample", () => {
  const at = steps("2024-03-04", 5, 1, "21:00", 1);
  const points = [100, 101, 99, 104, 103.5].map((value, row) => ({
    ts: new Date(at[row] as number).toISOString(),
    value,
  }));
  const [metrics] = completeMetrics(NOTHING, readEquity(points), null);
  // What `statistics.stdev` and `fmean` of Python say of the same five.
  expect(metrics["sharpe_ratio"]).toBeCloseTo(4.7104, 4);
});

test("orders count by their times, however these are spelled", () => {
  const order = (side: string, price: number, ts: string | null) =>
    ({ symbol: "A", side, price, ts, quantity: 1, status: "FILLED", commission: null }) as unknown as Order;
  for (const [bought, sold, again] of [
    ["2024-01-02T14:31:00Z", "2024-01-02T14:31:01Z", "2024-01-02T14:31:01.500Z"],
    ["2024-11-03T01:59:00-04:00", "2024-11-03T01:00:00-05:00", "2024-11-03T01:30:00-05:00"],
    ["2024-01-02T14:31:00.000001Z", "2024-01-02T14:31:00.1Z", "2024-01-02T14:31:00.10001Z"],
  ] as const) {
    const later = order("SELL", 30, "2025-06-01T00:00:00Z");
    const sent = [later, order("BUY", 10, again), order("SELL", 10, sold), order("BUY", 20, bought)];
    const [metrics] = completeMetrics(NOTHING, null, sent);
    expect([metrics["total_trades"], metrics["largest_winner"], metrics["largest_loser"]]).toEqual([2, 20, -10]);
  }
});
