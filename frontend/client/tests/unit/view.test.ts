import { expect, test } from "vitest";
import {
  BffError,
  type ClientOptions,
  createClient,
  type Group,
  type Report,
  type Side,
  type View,
  type ViewQuery,
} from "../../src/index.ts";
import { Switches } from "../switches.ts";
import { type Answer, type Asked, serve } from "./server.ts";

const NAMES = { run_id: "r1", strategy_id: "s", symbol: "AAPL", created_at: "2025-01-02T00:00:00Z", duration_ms: 12 };
const WINDOW = { run_from: "2024-01-01", run_to: "2024-01-31" };
const HEAD = { ...NAMES, ...WINDOW, status: "DONE", finished: true, progress: 1, revision: "abc", stale: false };
const RUN = {
  run: {
    ...NAMES,
    ...WINDOW,
    status: "DONE",
    dataset_id: null,
    params: {},
    seed: null,
    speed: null,
    slippage_fees: null,
    code_hash: null,
    artifacts: null,
    manifest: null,
  },
  metrics: null,
  equity: null,
  orders: [],
  metadata: { revision: "abc", stale: false, parts: {} },
};
const COLUMNS = { t: [1], o: [1], h: [1], l: [1], c: [1], v: [1] };
const CHART = {
  s: "ok",
  symbol: "AAPL",
  timeframe: "1D",
  from_date: "2024-01-01",
  to_date: "2024-01-31",
  metadata: {},
};
const QUERY: ViewQuery = { timeframe: "1D", targetPoints: 500, equityPoints: 300 };
const VIEW = "/api/v1/runs/r1/view?timeframe=1D&target_points=500&equity_points=300";
const RUN_URL = "/api/v1/runs/r1/complete?equity_points=300";
const CHART_URL =
  "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from_date=2024-01-01&to_date=2024-01-31&target_points=500&format=columns";

const line = (name: string, body: unknown, more: object = {}): string =>
  `${JSON.stringify({ name, status: 200, body, ...more })}\n`;
const LINES = {
  head: line("head", HEAD),
  chart: line("chart", { ...CHART, ...COLUMNS }, { etag: '"c1"' }),
  run: line("run", RUN, { etag: '"r1"' }),
};
const failed = (name: string, status: number, code: string): string =>
  line(name, { error: { code, message: "so it is", details: { correlation_id: "of-the-part" } } }, { status });

async function* pieces(...all: string[]): AsyncGenerator<string> {
  for (const piece of all) yield piece;
}

async function* cut(...all: string[]): AsyncGenerator<string> {
  for (const piece of all) yield piece;
  throw new Error("cut");
}

/** What is written when a test says so. */
function dictated(): { say(piece: string): void; end(): void; stream: AsyncGenerator<string> } {
  const said: (string | null)[] = [];
  let wake = (): void => {};
  async function* stream(): AsyncGenerator<string> {
    for (;;) {
      while (!said.length) await new Promise<void>((resolve) => (wake = resolve));
      const piece = said.shift();
      if (piece == null) return;
      yield piece;
    }
  }
  const put = (piece: string | null): void => {
    said.push(piece);
    wake();
  };
  return { say: put, end: () => put(null), stream: stream() };
}

/** The backend's own answers, as many as the legacy side asks for here. */
function backend({ url }: Asked): Answer {
  const [path] = url.split("?");
  if (path === "/backtests/r1") return { body: RUN.run };
  if (path === "/backtests/r1/orders") return { body: [] };
  if (path?.startsWith("/backtests/r1/")) return { status: 404, body: { detail: "none" } };
  if (path === "/bars/daily") return { body: { bars: [{ t: "2024-01-02T00:00:00Z", o: 1, h: 2, l: 1, c: 2, v: 3 }] } };
  return { status: 404, body: { detail: "no such path" } };
}

/** The BFF's single calls, and the backend. */
function single(asked: Asked): Answer {
  if (asked.url === RUN_URL) return { body: RUN };
  if (asked.url === CHART_URL) return { body: { ...CHART, ...COLUMNS, metadata: { single: true } } };
  return backend(asked);
}

class Sides extends Switches {
  readonly sides: Partial<Record<Group, Side>>;

  constructor(sides: Partial<Record<Group, Side>>) {
    super("bff");
    this.sides = sides;
  }

  override side(group: Group): Side {
    return this.sides[group] ?? this.all;
  }
}

async function made(
  answer: (asked: Asked) => Answer | undefined | Promise<Answer | undefined>,
  options: Partial<ClientOptions> = {},
) {
  const server = await serve(async (asked) => (await answer(asked)) ?? single(asked));
  const reports: Report[] = [];
  const client = createClient({
    baseUrl: server.url,
    flags: new Switches("bff"),
    onReport: (report) => reports.push(report),
    validate: false,
    ...options,
  });
  return { server, reports, client, paths: () => server.asked.map(({ url }) => url) };
}

const viewed =
  (...all: string[]) =>
  ({ url }: Asked): Answer | undefined =>
    url.startsWith("/api/v1/runs/r1/view") ? { pieces: pieces(...all) } : undefined;

async function failure(part: Promise<unknown>): Promise<BffError> {
  return part.then(
    () => expect.unreachable("it was answered"),
    (error: BffError) => error,
  ) as Promise<BffError>;
}

const all = ({ head, chart, run }: View) => Promise.all([head, chart, run]);

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
  ["an open breaker", { status: 503, body: { error: { code: "BACKEND_CIRCUIT_OPEN" } } }, "BACKEND_CIRCUIT_OPEN"],
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
  const lines = [LINES.head, failed("chart", 503, "BACKEND_CIRCUIT_OPEN"), failed("run", 504, "BACKEND_TIMEOUT")];
  const { client, reports, paths } = await made(viewed(...lines));
  const [, chart, run] = await all(client.getView("r1", QUERY));
  expect(chart.columns.c).toEqual([2]);
  expect(run.run.symbol).toBe("AAPL");
  expect(paths().filter((url) => url.startsWith("/api"))).toEqual([VIEW]);
  expect(reports.filter(({ call }) => call !== "getView").map(({ call, side, error }) => [call, side, error])).toEqual(
    expect.arrayContaining([
      ["getChart", "legacy", { code: "BACKEND_CIRCUIT_OPEN", correlationId: "of-the-part" }],
      ["getRun", "legacy", { code: "BACKEND_TIMEOUT", correlationId: "of-the-part" }],
    ]),
  );
  const strict = await made(viewed(...lines), { fallback: false });
  expect(await failure(strict.client.getView("r1", QUERY).run)).toMatchObject({ code: "BACKEND_TIMEOUT", status: 504 });
  expect(strict.paths()).toEqual([VIEW]);
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

test("a listener that throws leaves no part waiting", async () => {
  const { client } = await made(() => ({ status: 404, body: {} }), {
    onReport: () => {
      throw new Error("of the listener");
    },
  });
  await expect(client.getView("r1", QUERY).chart).rejects.toThrow("of the listener");
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
