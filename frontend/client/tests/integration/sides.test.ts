/** The same results whichever side answers. */

import { describe, expect, test } from "vitest";
import type { BffError, Chart, ChartQuery, CompleteRun, ListedRun, RunOptions, RunPage } from "../../src/index.ts";
import { client } from "./stack.ts";

const bff = client("bff");
const legacy = client("legacy");

/**
 * What differs by nature: how long it took, how often the backend was asked, where it came from. A long chart of minutes
 * comes from hours on the one side and from minutes on the other, with the same bars.
 */
function comparable(answer: Chart | CompleteRun | RunPage): unknown {
  const { metadata, ...rest } = answer as Chart & CompleteRun & RunPage;
  const { load_time_ms, cache_hit, backend_calls, data_source, revision, parts, metrics_pending, ...told } =
    metadata as unknown as Record<string, unknown>;
  if (["1M", "5M"].includes(rest.timeframe) && told["decimated"]) {
    delete told["source_bars"];
    delete told["source_timeframe"];
  }
  const states = Object.entries((parts ?? {}) as CompleteRun["metadata"]["parts"]).map(([name, { state, error }]) => [
    name,
    state,
    error?.["code"] ?? null,
    error?.["status"] ?? null,
  ]);
  return { ...rest, told, states };
}

/** Figures that are computed are sums of many thousands, in another order on each side. */
function rounded(run: CompleteRun): CompleteRun {
  const metrics = Object.entries(run.metrics ?? {}).map(([name, figure]) => [
    name,
    run.metadata.computed.includes(name) ? Number(Number(figure).toPrecision(10)) : figure,
  ]);
  return { ...run, metrics: run.metrics && Object.fromEntries(metrics) };
}

const CHARTS: ChartQuery[] = [
  { symbol: "AAPL", timeframe: "1D", from: "2024-01-01", to: "2025-12-31" },
  { symbol: " AAPL ", timeframe: "1D", from: "2024-01-01", to: "2025-12-31", targetPoints: 120 },
  { symbol: "AAPL", timeframe: "1D", from: "2024-01-01", to: "2024-12-31", targetPoints: 100 },
  { symbol: "TSLA", timeframe: "1H", from: "2024-03-01", to: "2024-04-30" },
  { symbol: "TSLA", timeframe: "1H", from: "2024-01-01", to: "2024-12-31", targetPoints: 300 },
  { symbol: "TSLA", timeframe: "1H", from: "2024-01-01", to: "2024-12-31", targetPoints: 1000 },
  { symbol: "TSLA", timeframe: "1H", from: "2024-01-01", to: "2024-12-31", targetPoints: 100, rthOnly: false },
  { symbol: "TSLA", timeframe: "1H", from: "2024-06-24", to: "2024-07-31", targetPoints: 240, rthOnly: false },
  { symbol: "TSLA", timeframe: "1H", from: "2024-06-24", to: "2024-07-31", targetPoints: 160, rthOnly: false },
  { symbol: "MSFT", timeframe: "1M", from: "2024-11-01", to: "2024-12-31", targetPoints: 5000 },
  { symbol: "MSFT", timeframe: "1M", from: "2024-03-01", to: "2024-03-31", targetPoints: 1000 },
  { symbol: "MSFT", timeframe: "1M", from: "2024-06-24", to: "2024-07-12", targetPoints: 777, rthOnly: false },
  { symbol: "MSFT", timeframe: "1M", from: "2024-11-25", to: "2024-12-03", targetPoints: 130 },
  { symbol: "NVDA", timeframe: "1M", from: "2024-01-01", to: "2024-12-31", targetPoints: 2000 },
  { symbol: "NVDA", timeframe: "1M", from: "2024-02-26", to: "2024-12-31", targetPoints: 1000 },
  { symbol: "NVDA", timeframe: "1M", from: "2024-10-21", to: "2024-12-02", targetPoints: 100 },
  { symbol: "SPY", timeframe: "1M", from: "2024-07-06", to: "2024-07-07" },
  { symbol: "SPY", timeframe: "5M", from: "2024-07-01", to: "2024-07-05" },
  { symbol: "SPY", timeframe: "5M", from: "2024-11-25", to: "2024-12-03", targetPoints: 130 },
  { symbol: "SPY", timeframe: "5M", from: "2024-06-24", to: "2024-07-12", rthOnly: false },
  { symbol: "SPY", timeframe: "5M", from: "2024-01-01", to: "2024-12-31", targetPoints: 2000 },
];

describe("charts", () => {
  test.each(CHARTS)("$symbol $timeframe from $from to $to, $targetPoints points, rth $rthOnly", async (query) => {
    const [ours, theirs] = [await bff.getChart(query), await legacy.getChart(query)];
    expect(comparable(theirs)).toEqual(comparable(ours));
  });
});

/** The BFF's answer once every part has come: a run of years is late for the first one, and says so. */
async function whole(id: string, options: RunOptions): Promise<CompleteRun> {
  const failed = async (): Promise<string[]> => (await bff.getRun(id, options)).metadata.failed_sources;
  await expect.poll(failed, { timeout: 20_000 }).toEqual([]);
  return bff.getRun(id, options);
}

describe("runs", async () => {
  const { items } = await bff.listRuns({ limit: 50 });

  test("lists are the same once all metrics have come", async () => {
    const query = { limit: 10, order: "created_at" as const };
    await expect.poll(async () => (await bff.listRuns(query)).metadata.metrics_pending, { timeout: 10_000 }).toBe(0);
    expect(comparable(await legacy.listRuns(query))).toEqual(comparable(await bff.listRuns(query)));
  });

  // Of the long runs one will do: each costs seconds on the legacy side.
  const isShort = ({ run_from: from, run_to: to }: ListedRun): boolean =>
    Date.parse(to ?? "") - Date.parse(from ?? "") < 100 * 86_400_000;
  const chosen = [...items.filter(isShort), ...items.filter((run) => !isShort(run) && run.status === "DONE").slice(-1)];

  test.each(chosen.map(({ run_id: id, status }) => ({ id: id ?? "", status })))("$id ($status)", async ({ id }) => {
    const ours = await whole(id, { equityPoints: 1500 });
    const theirs = await legacy.getRun(id, { equityPoints: 1500 });
    expect(comparable(rounded(theirs))).toEqual(comparable(rounded(ours)));
  });

  test("parts that are not wanted are skipped", async () => {
    const id = items.find(({ status }) => status === "DONE")?.run_id ?? "";
    const [ours, theirs] = [
      await bff.getRun(id, { include: ["orders"] }),
      await legacy.getRun(id, { include: ["orders"] }),
    ];
    expect(comparable(theirs)).toEqual(comparable(ours));
    expect(theirs.equity).toBeNull();
  });
});

describe("errors", () => {
  const told = async (call: Promise<unknown>): Promise<Pick<BffError, "code" | "status"> & { known: unknown }> => {
    const { code, status, details, correlationId } = (await call.then(
      () => expect.unreachable("it was answered"),
      (error: BffError) => error,
    )) as BffError;
    expect(correlationId === null || correlationId.length > 8).toBe(true);
    return { code, status, known: details["known"] ?? details["fields"] ?? null };
  };

  test.each([
    ["an unknown run", (of: typeof bff) => of.getRun("0".repeat(32))],
    [
      "an unknown symbol",
      (of: typeof bff) => of.getChart({ symbol: "NONE", timeframe: "1D", from: "2024-01-01", to: "2024-02-01" }),
    ],
    [
      "a window before all bars",
      (of: typeof bff) => of.getChart({ symbol: "AAPL", timeframe: "1M", from: "2001-01-01", to: "2001-02-01" }),
    ],
    [
      "a bad date",
      (of: typeof bff) => of.getChart({ symbol: "AAPL", timeframe: "1M", from: "2024-02-30", to: "2024-03-01" }),
    ],
    [
      "too few points",
      (of: typeof bff) =>
        of.getChart({ symbol: "AAPL", timeframe: "1M", from: "2024-02-20", to: "2024-03-01", targetPoints: 5 }),
    ],
  ])("%s is the same error", async (_, call) => {
    expect(await told(call(legacy))).toEqual(await told(call(bff)));
  });
});
