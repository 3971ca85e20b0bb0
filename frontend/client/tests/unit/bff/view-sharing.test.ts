import { expect, onTestFinished, test, vi } from "vitest";
import {
  all,
  CHART,
  CHART_URL,
  COLUMNS,
  dictated,
  failure,
  HEAD,
  LINES,
  line,
  made,
  QUERY,
  RUN,
  RUN_URL,
  VIEW,
  viewed,
} from "./views.ts";

test("equal views share one flight, also when a part of it has landed", async () => {
  const dictate = dictated();
  const { client, reports, paths } = await made(({ url }) => (url === VIEW ? { pieces: dictate.stream } : undefined));
  const first = client.getView("r1", QUERY);
  dictate.say(LINES.head);
  await first.head;
  const second = client.getView("r1", { ...QUERY });
  expect(await second.head).toBe(await first.head);
  dictate.say(LINES.chart);
  dictate.say(LINES.run);
  dictate.end();
  expect(await second.run).toBe(await first.run);
  await Promise.all([all(first), all(second)]);
  await expect.poll(() => reports).toHaveLength(1);
  expect(paths()).toEqual([VIEW]);
});

test("a run or a chart that a view is about to bring is not asked for again", async () => {
  const dictate = dictated();
  const { client, reports, paths } = await made(({ url }) => (url === VIEW ? { pieces: dictate.stream } : undefined));
  const view = client.getView("r1", QUERY);
  const run = client.getRun("r1", { equityPoints: 300 });
  dictate.say(LINES.head);
  await view.head;
  const chart = client.getChart({
    targetPoints: 500,
    symbol: "AAPL",
    timeframe: "1D",
    from: "2024-01-01",
    to: "2024-01-31",
  });
  dictate.say(LINES.chart + LINES.run);
  dictate.end();
  expect(await run).toBe(await view.run);
  expect(await chart).toBe(await view.chart);
  await expect.poll(() => reports).toHaveLength(1);
  expect(paths()).toEqual([VIEW]);
});

test("who aborts leaves the view to the others; when all have, the request ends", async () => {
  let gone = 0;
  const dictate = dictated();
  const { client, paths, reports } = await made(({ url }) => (url === VIEW ? { pieces: dictate.stream } : undefined), {
    fetch: (input, init) => {
      init?.signal?.addEventListener("abort", () => gone++);
      return fetch(input, init);
    },
  });
  const [one, other, third] = [new AbortController(), new AbortController(), new AbortController()];
  const first = client.getView("r1", QUERY, { signal: one.signal });
  const second = client.getView("r1", QUERY, { signal: other.signal });
  const run = client.getRun("r1", { equityPoints: 300, signal: third.signal });
  dictate.say(LINES.head);
  expect((await first.head).run_id).toBe("r1");
  await second.head;
  one.abort(new Error("enough"));
  await expect(first.run).rejects.toThrow("enough");
  await expect(first.chart).rejects.toThrow("enough");
  dictate.say(LINES.chart);
  expect((await second.chart).symbol).toBe("AAPL");
  other.abort();
  await expect(second.run).rejects.toMatchObject({ name: "AbortError" });
  expect(gone).toBe(0);
  third.abort();
  await expect(run).rejects.toMatchObject({ name: "AbortError" });
  await expect.poll(() => gone).toBe(1);
  expect(paths()).toEqual([VIEW]);
  expect(reports).toEqual([]);
});

test("a signal that has been aborted asks for nothing, and is nobody else's affair", async () => {
  const asked: unknown[] = [];
  const { client } = await made(viewed(LINES.head, LINES.chart, LINES.run), {
    fetch: (input, init) => {
      asked.push(input);
      return fetch(input, init);
    },
  });
  const view = client.getView("r1", QUERY, { signal: AbortSignal.abort(new Error("before")) });
  expect(asked).toEqual([]);
  const other = client.getView("r1", QUERY);
  for (const part of [view.head, view.chart, view.run]) await expect(part).rejects.toThrow("before");
  expect((await other.run).run.run_id).toBe("r1");
});

test("an abort while legacy answers is no failure either", async () => {
  const controller = new AbortController();
  const { client, paths, reports } = await made(({ url }) =>
    url === VIEW ? { status: 502, body: {} } : url === "/backtests/r1" ? new Promise(() => {}) : undefined,
  );
  const view = client.getView("r1", QUERY, { signal: controller.signal });
  await expect.poll(paths).toContain("/backtests/r1/orders");
  controller.abort();
  await expect(view.run).rejects.toMatchObject({ name: "AbortError" });
  await new Promise((resolve) => setImmediate(resolve));
  expect(reports).toEqual([]);
});

test("a listener that throws changes nothing for the view it hears of", async () => {
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => said.mockRestore());
  const onReport = (): never => {
    throw new Error("of the listener");
  };
  const { client } = await made(viewed(LINES.head, LINES.chart, LINES.run), { onReport });
  expect((await all(client.getView("r1", QUERY)))[2]).toEqual(RUN);
  const refused = await made(() => ({ status: 404, body: {} }), { onReport });
  await expect(refused.client.getView("r1", QUERY).chart).rejects.toMatchObject({ status: 404 });
  await expect.poll(() => said.mock.calls).toHaveLength(2);
});

test("parts that nobody waits for fail unheard", async () => {
  const heard: unknown[] = [];
  const hear = (error: unknown): unknown => heard.push(error);
  process.on("unhandledRejection", hear);
  try {
    const { client, reports } = await made(() => ({ status: 404, body: {} }));
    client.getView("r1", QUERY);
    client.getView("r2", QUERY, { signal: AbortSignal.abort() });
    client.getView("r3", { timeframe: "1D", to: "2024-01-01" });
    await expect.poll(() => reports).toHaveLength(1);
    // Node tells of them once the microtasks are done.
    await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual([]);
  } finally {
    process.off("unhandledRejection", hear);
  }
});

test("a development build checks each part; what is not as the schema says comes from legacy, as after a 5xx", async () => {
  const lines = [LINES.head, line("chart", { ...CHART, ...COLUMNS, t: "none" }), LINES.run];
  const { client, paths } = await made(viewed(...lines), { validate: true, fallback: false });
  const view = client.getView("r1", QUERY);
  expect(await view.head).toEqual(HEAD);
  expect(await failure(view.chart)).toMatchObject({ code: "MALFORMED" });
  expect((await failure(view.run)).message).toContain("CompleteRun.");
  expect(paths()).toEqual([VIEW]);
  const lenient = await made(viewed(...lines), { validate: true });
  expect((await lenient.client.getView("r1", QUERY).chart).columns.c).toEqual([2]);
});

test("a line that never ends is given up", async () => {
  async function* endless(): AsyncGenerator<string> {
    yield LINES.head;
    for (;;) yield "x".repeat(8_000_000);
  }
  const { client, reports, paths } = await made(({ url }) => (url === VIEW ? { pieces: endless() } : undefined));
  const [, chart] = await all(client.getView("r1", QUERY));
  expect(chart.metadata).toEqual({ single: true });
  expect(reports[0]).toMatchObject({ call: "getView", error: { code: "MALFORMED" } });
  expect(paths()).toEqual(expect.arrayContaining([VIEW, CHART_URL, RUN_URL]));
});
