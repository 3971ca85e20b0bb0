import { expect, test } from "vitest";
import { BffError } from "../../../src/index.ts";
import type { Answer } from "../server.ts";
import {
  all,
  CHART,
  CHART_URL,
  COLUMNS,
  cut,
  dictated,
  failed,
  failure,
  HEAD,
  LINES,
  line,
  made,
  pieces,
  QUERY,
  RUN,
  RUN_URL,
  Sides,
  VIEW,
  viewed,
} from "./views.ts";

test("a view is one request, and each part is there as soon as its line is", async () => {
  const dictate = dictated();
  const { client, reports, paths } = await made(({ url }) => (url === VIEW ? { pieces: dictate.stream } : undefined));
  const view = client.getView("r1", QUERY);
  const there: string[] = [];
  for (const name of ["head", "chart", "run"] as const) void view[name].then(() => there.push(name));
  dictate.say(LINES.head);
  expect(await view.head).toEqual(HEAD);
  expect(there).toEqual(["head"]);
  const half = LINES.run.length / 2;
  dictate.say(LINES.run.slice(0, half));
  dictate.say(LINES.run.slice(half));
  expect(await view.run).toEqual(RUN);
  expect(there).toEqual(["head", "run"]);
  expect(reports).toEqual([]);
  dictate.say(LINES.chart);
  expect(await view.chart).toEqual({
    symbol: "AAPL",
    timeframe: "1D",
    from_date: "2024-01-01",
    to_date: "2024-01-31",
    columns: COLUMNS,
    metadata: {},
  });
  expect(reports).toEqual([]);
  dictate.end();
  await expect.poll(() => reports).toHaveLength(1);
  expect(paths()).toEqual([VIEW]);
  const bytes = Object.values(LINES).join("").length;
  expect(reports[0]).toMatchObject({ call: "getView", group: "run_data", side: "bff", requests: 1, bytes });
  expect(reports[0]).not.toHaveProperty("error");
  expect(reports[0]?.ms).toBeGreaterThan(0);
});

test("the window is sent along, and half a window is refused before anything is asked", async () => {
  const { client, paths } = await made(viewed(LINES.head, LINES.chart, LINES.run));
  await all(client.getView("r1", { timeframe: "1H", from: "2024-01-05", to: "2024-01-06", rthOnly: false }));
  expect(paths()).toEqual([
    "/api/v1/runs/r1/view?timeframe=1H&target_points=2000&from_date=2024-01-05&to_date=2024-01-06&rth_only=false",
  ]);
  const view = client.getView("r1", { timeframe: "1H", from: "2024-01-05" });
  expect(await failure(view.chart)).toMatchObject({ code: "VALIDATION", status: 422 });
  expect(await failure(view.head)).toMatchObject({ details: { fields: { to_date: expect.any(String) } } });
  expect(paths()).toHaveLength(1);
});

test("tags of the lines are those of the single calls, and a 304 gives what the view brought", async () => {
  const { client, server } = await made((asked) =>
    asked.headers["if-none-match"] ? { status: 304 } : viewed(LINES.head, LINES.chart, LINES.run)(asked),
  );
  const [, chart, run] = await all(client.getView("r1", QUERY));
  expect(await client.getRun("r1", { equityPoints: 300 })).toBe(run);
  const again = { symbol: "AAPL", timeframe: "1D", from: "2024-01-01", to: "2024-01-31", targetPoints: 500 } as const;
  expect(await client.getChart(again)).toEqual(chart);
  expect(server.asked.map(({ url, headers }) => [url, headers["if-none-match"]])).toEqual([
    [VIEW, undefined],
    [RUN_URL, '"r1"'],
    [CHART_URL, '"c1"'],
  ]);
});

test.each([
  ["a 500", { status: 500, body: {} }, "INTERNAL"],
  ["a broken connection", { broken: true }, "NETWORK"],
  ["a page of HTML", { body: "<html>" }, "MALFORMED"],
  ["an answer without parts", { body: "" }, "NETWORK"],
])("after %s in place of the head legacy answers, and one report says so", async (_, answer, code) => {
  const { client, reports, paths } = await made(({ url }) => (url.startsWith("/api") ? answer : undefined));
  const [head, chart, run] = await all(client.getView("r1", QUERY));
  expect(head).toMatchObject({ ...HEAD, revision: run.metadata.revision });
  expect(chart.columns.c).toEqual([2]);
  expect(run.run.symbol).toBe("AAPL");
  expect(paths().map((url) => url.split("?")[0])).toEqual([
    "/api/v1/runs/r1/view",
    "/backtests/r1",
    "/backtests/r1/metrics",
    "/backtests/r1/equity",
    "/backtests/r1/orders",
    "/bars/daily",
  ]);
  await expect.poll(() => reports).toHaveLength(1);
  expect(reports[0]).toMatchObject({ call: "getView", side: "legacy", requests: 6, fallback: true, error: { code } });
});

test("an error in place of the view is every part's, and a refusal asks nobody else", async () => {
  const { client, reports, paths } = await made(() => ({
    status: 404,
    body: { error: { code: "RUN_NOT_FOUND", message: "no", details: { correlation_id: "of-the-view" } } },
  }));
  const view = client.getView("r1", QUERY);
  for (const part of [view.head, view.chart, view.run]) {
    expect(await failure(part)).toMatchObject({ code: "RUN_NOT_FOUND", status: 404, correlationId: "of-the-view" });
  }
  expect(paths()).toEqual([VIEW]);
  expect(reports).toHaveLength(1);
  expect(reports[0]).toMatchObject({ side: "bff", error: { code: "RUN_NOT_FOUND", correlationId: "of-the-view" } });
});

test("a BFF from before there were views is asked for the parts", async () => {
  const { client, reports, paths } = await made(({ url }) =>
    url === VIEW ? { status: 404, body: { error: { code: "NOT_FOUND", message: "no such resource" } } } : undefined,
  );
  const [head, chart, run] = await all(client.getView("r1", QUERY));
  expect([head, run]).toEqual([HEAD, RUN]);
  expect(chart.metadata).toEqual({ single: true });
  expect(paths()).toEqual([VIEW, RUN_URL, CHART_URL]);
  expect(reports.map(({ call, side }) => [call, side])).toEqual([
    ["getRun", "bff"],
    ["getChart", "bff"],
  ]);
});

test("without fallback the failure of the BFF is the view's", async () => {
  const { client, paths } = await made(() => ({ status: 502, body: {} }), { fallback: false });
  expect(await failure(client.getView("r1", QUERY).run)).toMatchObject({ code: "BACKEND_UNAVAILABLE" });
  expect(paths()).toEqual([VIEW]);
});

test("after a break in the middle only what is missing is asked for, over the BFF", async () => {
  const { client, reports, paths } = await made(({ url }) =>
    url === VIEW ? { pieces: cut(LINES.head, LINES.run, LINES.chart.slice(0, 40)) } : undefined,
  );
  const [, chart, run] = await all(client.getView("r1", QUERY));
  expect(run).toEqual(RUN);
  expect(chart.metadata).toEqual({ single: true });
  expect(paths()).toEqual([VIEW, CHART_URL]);
  await expect.poll(() => reports).toHaveLength(2);
  expect(reports).toMatchObject([
    { call: "getView", side: "bff", error: { code: "NETWORK" } },
    { call: "getChart", side: "bff", requests: 1 },
  ]);
});

test("an answer that ends too early is one that broke off, and its single calls fall back by themselves", async () => {
  const { client, reports } = await made(({ url }) =>
    url === VIEW ? { pieces: pieces(LINES.head) } : url.startsWith("/api") ? { status: 503, body: {} } : undefined,
  );
  const [head, chart, run] = await all(client.getView("r1", QUERY));
  expect(head).toEqual(HEAD);
  expect(chart.columns.c).toEqual([2]);
  expect(run.run.symbol).toBe("AAPL");
  expect(reports.map(({ call, side, fallback }) => [call, side, fallback])).toEqual([
    ["getView", "bff", undefined],
    ["getChart", "legacy", true],
    ["getRun", "legacy", true],
  ]);
});

test("a part that is refused fails alone, with its own error", async () => {
  const { client, reports, paths } = await made(
    viewed(line("head", { ...HEAD, symbol: null }), failed("chart", 404, "DATASET_NOT_FOUND"), LINES.run),
  );
  const view = client.getView("r1", QUERY);
  expect(await view.run).toEqual(RUN);
  const error = await failure(view.chart);
  expect(error).toBeInstanceOf(BffError);
  expect(error).toMatchObject({ code: "DATASET_NOT_FOUND", status: 404, correlationId: "of-the-part" });
  await expect.poll(() => reports).toHaveLength(1);
  expect(reports[0]?.error).toEqual({ code: "DATASET_NOT_FOUND", correlationId: "of-the-part" });
  expect(paths()).toEqual([VIEW]);
});

test("a part that the BFF fails with comes from legacy once", async () => {
  const lines = [LINES.head, failed("chart", 500, "INTERNAL"), failed("run", 500, "INTERNAL")];
  const { client, reports, paths } = await made(viewed(...lines));
  const [, chart, run] = await all(client.getView("r1", QUERY));
  expect(chart.columns.c).toEqual([2]);
  expect(run.run.symbol).toBe("AAPL");
  expect(paths().filter((url) => url.startsWith("/api"))).toEqual([VIEW]);
  expect(reports.filter(({ call }) => call !== "getView").map(({ call, side, error }) => [call, side, error])).toEqual(
    expect.arrayContaining([
      ["getChart", "legacy", { code: "INTERNAL", correlationId: "of-the-part" }],
      ["getRun", "legacy", { code: "INTERNAL", correlationId: "of-the-part" }],
    ]),
  );
  const strict = await made(viewed(...lines), { fallback: false });
  expect(await failure(strict.client.getView("r1", QUERY).run)).toMatchObject({ code: "INTERNAL", status: 500 });
  expect(strict.paths()).toEqual([VIEW]);
});

test("a part that the backend failed with fails alone, and the backend is not asked for it again", async () => {
  const { client, reports, paths } = await made(
    viewed(LINES.head, failed("chart", 503, "BACKEND_CIRCUIT_OPEN"), failed("run", 504, "BACKEND_TIMEOUT")),
  );
  const view = client.getView("r1", QUERY);
  expect(await view.head).toEqual(HEAD);
  expect(await failure(view.chart)).toMatchObject({ code: "BACKEND_CIRCUIT_OPEN", status: 503 });
  expect(await failure(view.run)).toMatchObject({ code: "BACKEND_TIMEOUT", status: 504 });
  expect(paths()).toEqual([VIEW]);
  await expect.poll(() => reports).toHaveLength(1);
  expect(reports[0]).toMatchObject({ side: "bff", error: { code: "BACKEND_CIRCUIT_OPEN" } });
});

test.each([
  ["legacy", "bff", ["/backtests/r1", "/api/v1/chart-data"]],
  ["bff", "legacy", ["/api/v1/runs/r1/complete", "/bars/daily"]],
  ["legacy", "legacy", ["/backtests/r1", "/bars/daily"]],
] as const)("with runs over %s and charts over %s it is put together", async (run_data, chart_data, expected) => {
  const { client, reports, paths } = await made(() => undefined, { flags: new Sides({ run_data, chart_data }) });
  const [head, chart, run] = await all(client.getView("r1", QUERY));
  expect(head).toEqual({ ...HEAD, revision: run.metadata.revision });
  expect(chart.symbol).toBe("AAPL");
  expect(paths().map((url) => url.split("?")[0])).toEqual(expect.arrayContaining([...expected]));
  expect(paths().some((url) => url.includes("/view"))).toBe(false);
  expect(reports.map(({ call, side }) => [call, side])).toEqual([
    ["getRun", run_data],
    ["getChart", chart_data],
  ]);
});

test("what is known of the run saves its chart from waiting for it", async () => {
  const known = { symbol: "AAPL", from: "2024-01-01T00:00:00Z", to: "2024-01-31" };
  let land: (answer: Answer) => void = () => {};
  const { client, paths } = await made(
    ({ url }) => (url === RUN_URL ? new Promise<Answer>((resolve) => (land = resolve)) : undefined),
    { flags: new Sides({ chart_data: "legacy" }) },
  );
  const view = client.getView("r1", { ...QUERY, known });
  expect((await view.chart).columns.c).toEqual([2]);
  expect(paths()).toContain("/bars/daily?symbol=AAPL&from=2024-01-01&to=2024-01-31");
  land({ body: RUN });
  expect((await view.head).run_id).toBe("r1");
});

test("what is known of the run is told, so that its chart need not wait for it", async () => {
  const known = { symbol: "AAPL", from: "2024-01-01T00:00:00Z", to: "2024-01-31" };
  const { client, paths } = await made(viewed(LINES.head, LINES.chart, LINES.run));
  await all(client.getView("r1", { ...QUERY, known }));
  expect(paths()).toEqual([
    "/api/v1/runs/r1/view?symbol=AAPL&timeframe=1D&target_points=500&from_date=2024-01-01&to_date=2024-01-31&equity_points=300",
  ]);
});

test("a run without a window has no chart on either side", async () => {
  const { client } = await made(
    ({ url }) => (url === RUN_URL ? { body: { ...RUN, run: { ...RUN.run, run_from: null } } } : undefined),
    { flags: new Sides({ chart_data: "legacy" }) },
  );
  const view = client.getView("r1", QUERY);
  expect(await failure(view.chart)).toMatchObject({ code: "DATASET_NOT_FOUND", status: 404 });
  expect((await view.run).run.run_from).toBeNull();
});

test("of a part that comes twice the first counts, and what nobody knows is left alone", async () => {
  const again = failed("chart", 404, "DATASET_NOT_FOUND");
  const { client, reports } = await made(
    viewed(LINES.head, failed("weather", 404, "NOT_FOUND"), LINES.chart, again, line("constructor", {}), LINES.run),
  );
  const [, chart, run] = await all(client.getView("r1", QUERY));
  expect(chart.columns).toEqual(COLUMNS);
  expect(run).toEqual(RUN);
  await expect.poll(() => reports).toHaveLength(1);
  expect(reports[0]).not.toHaveProperty("error");
});

test("without a number of points both sides are asked for as many", async () => {
  const whole = await made(viewed(LINES.head, LINES.chart, LINES.run));
  await all(whole.client.getView("r1", { timeframe: "1D" }));
  expect(whole.paths()).toEqual(["/api/v1/runs/r1/view?timeframe=1D&target_points=2000"]);
  const mixed = await made(
    ({ url }) => (url.startsWith("/api/v1/chart-data") ? { body: { ...CHART, ...COLUMNS } } : undefined),
    { flags: new Sides({ run_data: "legacy" }) },
  );
  await mixed.client.getView("r1", { timeframe: "1D" }).chart;
  expect(mixed.paths().at(-1)).toContain("target_points=2000");
});

test("a preview of the chart is passed on before the chart, and is no part of the view", async () => {
  const preview = line("chart_preview", { ...CHART, ...COLUMNS, metadata: { preview: true } });
  const { client } = await made(() => ({ pieces: pieces(LINES.head, preview, LINES.chart, LINES.run) }));
  const previews: unknown[] = [];
  const view = client.getView("r1", QUERY, { onPreview: ({ metadata }) => previews.push(metadata) });
  expect((await view.chart).metadata).toEqual({});
  expect(previews).toEqual([{ preview: true }]);
});
