import { describe, expect, test } from "vitest";
import { addReport, addToView, NO_COST, NO_COSTS, reduction } from "../../../src/features/engineering/call-costs.ts";

describe("costs", () => {
  const report = { call: "getChart", side: "bff", requests: 1, bytes: 100, ms: 5, cache: "bff; hit" } as const;

  test("add up by view and side", () => {
    const once = addToView(NO_COSTS, "run", report);
    const twice = addToView(once, "run", {
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
    expect([reduction(8, 2), reduction(0, 2), reduction(undefined, 1), reduction(4, 0)]).toEqual([
      0.75,
      undefined,
      undefined,
      1,
    ]);
  });
});
