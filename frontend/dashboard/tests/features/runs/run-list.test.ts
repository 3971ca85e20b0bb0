import { BffError, type ListedRun } from "bff-client";
import { describe, expect, test } from "vitest";
import { pollMs } from "../../../src/api/queries.ts";
import { filterAndSort, missingMetrics, pageCount, runsNeedingMetrics } from "../../../src/features/runs/run-list.ts";
import { LIST } from "../../../src/lib/route.ts";

const run = (index: number, state: ListedRun["metrics_state"] = "skipped"): ListedRun => ({
  ...{
    run_id: `r${index}`,
    status: "DONE",
    symbol: "AAPL",
    strategy_id: "s",
    duration_ms: 1,
    run_from: null,
    run_to: null,
  },
  created_at: new Date(Date.UTC(2024, 0, 1) - index * 60_000).toISOString(),
  metrics: state === "ok" ? { total_return: index } : null,
  metrics_state: state,
});
const runs = Array.from({ length: 60 }, (_, index) => run(index));

test("a list needs the metrics of what is on its page, or of all where they decide what that is", () => {
  expect(runsNeedingMetrics(runs, { ...LIST, page: 2 }).map(({ run_id: id }) => id)).toEqual(
    Array.from({ length: 25 }, (_, index) => `r${index + 25}`),
  );
  expect(runsNeedingMetrics(runs, { ...LIST, page: 9 })).toHaveLength(10);
  expect(runsNeedingMetrics(runs, { ...LIST, sort: "total_return" })).toHaveLength(60);
});

test("a page of finished runs without metrics lacks them until they have been asked for", () => {
  const running = { ...run(3), status: "RUNNING" };
  expect(missingMetrics([run(1), run(2, "missing"), running, run(4, "ok"), run(5)])).toBe("r1 r5");
});

test("after a failure nothing is polled faster than the list, nor before the answer allows", () => {
  expect(pollMs(1000, null)).toBe(1000);
  expect(pollMs(false, new BffError("BUSY", "-"))).toBe(false);
  expect(pollMs(1000, new BffError("NETWORK", "-"))).toBeGreaterThanOrEqual(15_000);
  expect(pollMs(1000, new BffError("BUSY", "-", { status: 503, retryAfterMs: 40_000 }))).toBeGreaterThanOrEqual(40_000);
});

describe("the list", () => {
  const run = (symbol: string, total_return: number | null) =>
    ({ symbol, status: "DONE", metrics: total_return === null ? null : { total_return } }) as unknown as ListedRun;
  const runs = [run("A", 0.1), run("B", null), run("C", 0.3)];
  const names = (descending: boolean) =>
    filterAndSort(runs, { ...LIST, sort: "total_return", descending }).map(({ symbol }) => symbol);

  test("is sorted in both directions, what has no figure last in either", () => {
    expect(names(true)).toEqual(["C", "A", "B"]);
    expect(names(false)).toEqual(["A", "C", "B"]);
  });

  test("is filtered by status and paged", () => {
    expect(filterAndSort(runs, { ...LIST, status: "ERROR" })).toEqual([]);
    expect([pageCount(0), pageCount(25), pageCount(26)]).toEqual([1, 1, 2]);
  });
});
