import { expect, test } from "vitest";
import { downsample, drawdowns, readEquity } from "../../../src/legacy/equity.ts";
import type { Order } from "../../../src/types.ts";

const minute = (number: number): string => new Date(Date.UTC(2024, 0, 2, 14, 30 + number)).toISOString();
const curveOf = (values: number[], more: (row: number) => Record<string, unknown> = () => ({})) =>
  readEquity({ equity: values.map((value, row) => ({ ts: minute(row), value, ...more(row) })) });
const noisy = Array.from({ length: 1000 }, (_, row) => 100 + 20 * Math.sin(row / 50) + ((row * 7919) % 13));

test("a curve is in ascending order, and of several points at one time the last counts", () => {
  const rows = [2, 0, 1, 0].map((at, row) => ({ timestamp: minute(at), equity: row }));
  const { points, rejected } = readEquity(rows);
  expect(points.map(({ ts, value }) => [ts, value])).toEqual([
    [minute(0), 3],
    [minute(1), 2],
    [minute(2), 0],
  ]);
  expect(rejected).toBe(1);
});

test("points without a time or a value are left out, and what else a point has is kept", () => {
  const rows = [
    { ts: minute(0), value: 1, note: "a" },
    { ts: "soon", value: 2 },
    { ts: minute(2), value: null },
  ];
  const { points, rejected } = readEquity(rows);
  expect(points).toEqual([{ ts: minute(0), value: 1, drawdown: 0, extra: { note: "a" } }]);
  expect(rejected).toBe(2);
});

test("what is no curve is malformed", () => {
  for (const answer of [null, { equity: 1 }, [1], [{ value: 1 }], [{ ts: minute(0) }]]) {
    expect(() => readEquity(answer)).toThrow();
  }
  expect(readEquity([]).points).toEqual([]);
});

test("a drawdown is the loss since the peak, and there is none without a positive peak", () => {
  expect(drawdowns([-1, 0, 100, 50, 200, 150])).toEqual([null, null, 0, 0.5, 0, 0.25]);
});

test("the backend's own drawdown is kept where every point has one", () => {
  expect(curveOf([1, 2], () => ({ drawdown: 0.5 })).given).toBe(true);
  expect(curveOf([2, 1], (row) => (row ? { drawdown: 0.9 } : {})).points.map(({ drawdown }) => drawdown)).toEqual([
    0, 0.5,
  ]);
});

test.each([8, 20, 100, 999])("at most %i points keep the first, last, highest, lowest and deepest", (most) => {
  const curve = curveOf(noisy);
  const kept = downsample(curve, most, null);
  const deepest = Math.max(...curve.points.map(({ drawdown }) => drawdown ?? 0));
  expect(kept.length).toBeLessThanOrEqual(most);
  expect(kept.at(0)).toBe(curve.points.at(0));
  expect(kept.at(-1)).toBe(curve.points.at(-1));
  const values = kept.map(({ value }) => value);
  expect([Math.max(...values), Math.min(...values)]).toEqual([Math.max(...noisy), Math.min(...noisy)]);
  expect(Math.max(...kept.map(({ drawdown }) => drawdown ?? 0))).toBe(deepest);
  expect(kept.map(({ ts }) => ts)).toEqual([...new Set(kept.map(({ ts }) => ts))].sort());
});

test("a short curve, and one of which all is wanted, are as they are", () => {
  const curve = curveOf(noisy);
  expect(downsample(curve, 0, null)).toBe(curve.points);
  expect(downsample(curve, noisy.length, null)).toBe(curve.points);
});

test("the orders' minutes stay if all of them fit", () => {
  const curve = curveOf(noisy, () => ({ drawdown: 0.1 }));
  const orders = [300, 301, 302].map((at) => ({ ts: minute(at) }) as Order);
  const kept = new Set(downsample(curve, 20, orders).map(({ ts }) => ts));
  expect(orders.every(({ ts }) => kept.has(ts ?? ""))).toBe(true);
  const many = noisy.map((_, row) => ({ ts: minute(row) }) as Order);
  expect(downsample(curve, 20, many).length).toBeLessThanOrEqual(20);
});
