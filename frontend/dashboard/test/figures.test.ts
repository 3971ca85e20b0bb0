import type { CompleteRun, ListedRun } from "bff-client";
import { describe, expect, test } from "vitest";
import { equityPoints } from "../src/equity.ts";
import { bytes, milliseconds, percent, price, tone } from "../src/format.ts";
import { barAt, MOST_MARKS, marksOf, timedOrders } from "../src/marks.ts";
import { addReport, charge, NO_COST, NO_COSTS, saved } from "../src/measures.ts";
import { withPart } from "../src/queries.ts";
import { LIST } from "../src/route.ts";
import { listed, pagesOf } from "../src/runs.ts";

describe("figures", () => {
  test("are written as traders read them", () => {
    expect([percent(0.0151, true), percent(-0.0022, true), percent(0.04), price(-47.873)]).toEqual([
      "+1.51%",
      "−0.22%",
      "4.00%",
      "−47.87",
    ]);
    expect([bytes(950), bytes(95_700), bytes(17_220_000), milliseconds(3.24), milliseconds(1609)]).toEqual([
      "950 B",
      "95.7 kB",
      "17.22 MB",
      "3.2 ms",
      "1,609 ms",
    ]);
  });

  test("that are not there are a dash, and have no colour", () => {
    expect([percent(null), price(undefined), price(Number.NaN)]).toEqual(["–", "–", "–"]);
    expect([tone(0.01), tone(-0.01), tone(0.00001), tone(null)]).toEqual(["gain", "loss", undefined, undefined]);
  });
});

describe("the list", () => {
  const run = (symbol: string, total_return: number | null) =>
    ({ symbol, status: "DONE", metrics: total_return === null ? null : { total_return } }) as unknown as ListedRun;
  const runs = [run("A", 0.1), run("B", null), run("C", 0.3)];
  const names = (descending: boolean) =>
    listed(runs, { ...LIST, sort: "total_return", descending }).map(({ symbol }) => symbol);

  test("is sorted in both directions, what has no figure last in either", () => {
    expect(names(true)).toEqual(["C", "A", "B"]);
    expect(names(false)).toEqual(["A", "C", "B"]);
  });

  test("is filtered by status and paged", () => {
    expect(listed(runs, { ...LIST, status: "ERROR" })).toEqual([]);
    expect([pagesOf(0), pagesOf(25), pagesOf(26)]).toEqual([1, 1, 2]);
  });
});

describe("equity", () => {
  test("is ascending, unique and finite, with drawdowns at or below zero", () => {
    const rows = [
      { ts: "2024-01-02T14:30:00Z", value: 100 },
      { ts: "2024-01-02T14:31:00Z", value: 90 },
      { ts: "2024-01-02T14:31:00Z", value: 91 },
      { ts: "nonsense", value: 1 },
      { ts: "2024-01-02T14:33:00Z", value: null },
      { ts: "2024-01-02T14:34:00Z", value: 95, drawdown: 0.07 },
    ];
    expect(equityPoints(rows).map(({ value, drawdown }) => [value, drawdown])).toEqual([
      [100, -0],
      [90, -0.1],
      [95, -0.07],
    ]);
  });
});

describe("marks", () => {
  const bars = [0, 60, 120, 180];
  const order = (seconds: number, side: string) => ({
    ts: new Date(seconds * 1000).toISOString(),
    side,
    quantity: 100,
    price: 1.5,
  });

  test("stand at the bar that their orders fall in, one for each side", () => {
    const marks = marksOf(timedOrders([order(130, "SELL"), order(65, "BUY"), order(70, "BUY")]), bars, 0, 180);
    expect(marks).toEqual([
      { time: 60, buy: true, orders: 2, text: "B ×2" },
      { time: 120, buy: false, orders: 1, text: "S 100 @ 1.50" },
    ]);
  });

  test("are left out where they would be too many to tell apart", () => {
    const many = Array.from({ length: MOST_MARKS + 2 }, (_, index) => index * 60);
    expect(marksOf(timedOrders(many.map((time) => order(time, "BUY"))), many, 0, 1e9)).toEqual([]);
  });

  test("have no bar before the first", () => {
    expect([barAt(bars, -1), barAt(bars, 0), barAt(bars, 179), barAt(bars, 999), barAt([], 5)]).toEqual([
      -1, 0, 2, 3, -1,
    ]);
  });
});

describe("costs", () => {
  const report = { call: "getChart", side: "bff", requests: 1, bytes: 100, ms: 5, cache: "bff; hit" } as const;

  test("add up by view and side", () => {
    const once = charge(NO_COSTS, "run", report);
    const twice = charge(once, "run", {
      ...report,
      ms: 3,
      fallback: true,
      error: { code: "NETWORK", correlationId: null },
    });
    expect(twice.run.bff).toEqual({ calls: 2, bytes: 200, ms: 5, cache: "bff; hit", fallbacks: 1, errors: 1 });
    expect(twice.run.legacy).toBeUndefined();
    expect(NO_COSTS.run.bff).toBeUndefined();
    expect(addReport(NO_COST, report).calls).toBe(1);
  });

  test("compare as the share that is saved", () => {
    expect([saved(8, 2), saved(0, 2), saved(undefined, 1), saved(4, 0)]).toEqual([0.75, undefined, undefined, 1]);
  });
});

describe("a part that was had again", () => {
  test("takes its place, and the whole is partial only while another one lacks", () => {
    const parts = (orders: string, equity: string) => ({
      metrics: { state: "ok" },
      equity: { state: equity },
      orders: { state: orders },
    });
    const answer = (orders: string, equity: string, rows: unknown) =>
      ({
        orders: rows,
        metadata: { parts: parts(orders, equity), partial_data: true, failed_sources: [] },
      }) as unknown as CompleteRun;
    const merged = withPart(answer("failed", "timeout", null), answer("ok", "skipped", [1]), "orders");
    expect(merged.orders).toEqual([1]);
    expect(merged.metadata.failed_sources).toEqual(["equity"]);
    expect(withPart(merged, answer("skipped", "ok", null), "equity").metadata.partial_data).toBe(false);
  });
});
