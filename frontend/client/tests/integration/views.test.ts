/** A view is what the single calls would have brought, over each side and in one request over the BFF. */

import { expect, test } from "vitest";
import type { BffError, Client, Report, Side, View, ViewQuery } from "../../src/index.ts";
import { Switches } from "../switches.ts";
import { client } from "./stack.ts";

const QUERY: ViewQuery = { timeframe: "1H", targetPoints: 300, equityPoints: 500 };

const all = async ({ head, chart, run }: View) => ({ head: await head, chart: await chart, run: await run });

/** What is the same by whatever way an answer came. */
async function told(view: View): Promise<unknown> {
  const { head, chart, run } = await all(view);
  const { revision, ...rest } = head;
  return {
    head: rest,
    chart: { ...chart, metadata: chart.metadata.total_bars },
    equity: run.equity,
    orders: run.orders,
    run: run.run,
  };
}

/** A short run that is over and has all of its parts. */
async function whole(of: Client): Promise<string> {
  const { items } = await of.listRuns({ limit: 50, symbol: "AAPL" });
  for (const { run_id: id, run_from: from, run_to: to, status } of items) {
    if (status !== "DONE" || !id || Date.parse(to ?? "") - Date.parse(from ?? "") > 100 * 86_400_000) continue;
    if (!(await of.getRun(id, { equityPoints: 500 })).metadata.partial_data) return id;
  }
  throw new Error("the demo has no such run");
}

function split(sides: { run_data: Side; chart_data: Side }): Client {
  const flags = new Switches("bff");
  flags.side = (group) => (group === "websocket" ? "bff" : sides[group]);
  return client(flags);
}

test("a view is one request, the same as the single calls, and its tags are theirs", async () => {
  const answers: [string, number][] = [];
  const reports: Report[] = [];
  const of = client("bff", {
    onReport: (report) => reports.push(report),
    fetch: async (input, init) => {
      const answer = await fetch(input, init);
      answers.push([new URL(String(input)).pathname.split("/").at(-1) ?? "", answer.status]);
      return answer;
    },
  });
  const id = await whole(client("bff"));
  const { head, chart, run } = await all(of.getView(id, QUERY));
  expect(answers).toEqual([["view", 200]]);
  expect(head).toMatchObject({ run_id: id, status: "DONE", finished: true, symbol: chart.symbol });
  expect([chart.from_date, chart.to_date]).toEqual([head.run_from?.slice(0, 10), head.run_to?.slice(0, 10)]);
  expect(run.metadata.revision).toBe(head.revision);
  expect(await of.getRun(id, { equityPoints: 500 })).toBe(run);
  const { symbol, from_date: from, to_date: to } = chart;
  const alone = await of.getChart({ symbol, timeframe: "1H", from, to, targetPoints: 300 });
  expect(alone.columns.t).toBe(chart.columns.t);
  expect(answers.slice(1)).toEqual([
    ["complete", 304],
    ["chart-data", 304],
  ]);
  // The report on the view comes a moment after its parts.
  await expect.poll(() => reports).toHaveLength(3);
  expect(Object.fromEntries(reports.map(({ call, requests }) => [call, requests]))).toEqual({
    getView: 1,
    getRun: 1,
    getChart: 1,
  });
  expect(reports.find(({ call }) => call === "getView")?.bytes).toBeGreaterThan(1000);
});

test("a view is the same over either side and over both", async () => {
  const bff = client("bff");
  const id = await whole(bff);
  const ours = await told(bff.getView(id, QUERY));
  expect(await told(client("legacy").getView(id, QUERY))).toEqual(ours);
  expect(await told(split({ run_data: "bff", chart_data: "legacy" }).getView(id, QUERY))).toEqual(ours);
  expect(await told(split({ run_data: "legacy", chart_data: "bff" }).getView(id, QUERY))).toEqual(ours);
});

test.each(["bff", "legacy"] as const)("a run that is not there is no part's over %s", async (side) => {
  const view = client(side).getView("0".repeat(32), QUERY);
  for (const part of [view.head, view.chart, view.run]) {
    const error = (await part.then(
      () => expect.unreachable("it was answered"),
      (error) => error,
    )) as BffError;
    expect(error).toMatchObject({ code: "RUN_NOT_FOUND", status: 404 });
  }
});

test("a chart that cannot be had fails alone", async () => {
  const of = client("bff");
  const view = of.getView(await whole(of), { ...QUERY, from: "2001-01-01", to: "2001-02-01" });
  await expect(view.chart).rejects.toMatchObject({ code: "DATASET_NOT_FOUND", status: 404 });
  expect((await view.run).run.status).toBe("DONE");
});
