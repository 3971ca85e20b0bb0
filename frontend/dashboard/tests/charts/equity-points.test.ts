import { describe, expect, test } from "vitest";
import { equityPoints } from "../../src/charts/equity-points.ts";

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
