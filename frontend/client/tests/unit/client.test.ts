import { expect, test } from "vitest";
import { BffError, type ClientOptions, createClient, type Report, type Side } from "../../src/index.ts";
import { Switches } from "../switches.ts";
import { type Answer, type Asked, serve } from "./server.ts";

const PAGE = { items: [], total: 0, limit: 20, offset: 0, metadata: {} };
const CHART = {
  s: "ok",
  symbol: "AAPL",
  timeframe: "1D",
  from_date: "2024-01-01",
  to_date: "2024-01-02",
  metadata: {},
};
const COLUMNS = { t: [1], o: [1], h: [1], l: [1], c: [1], v: [1] };

async function made(
  side: Side,
  answer: (asked: Asked) => Answer | Promise<Answer>,
  options: Partial<ClientOptions> = {},
) {
  const server = await serve(answer);
  const reports: Report[] = [];
  const flags = new Switches(side);
  const onReport = (report: Report): unknown => reports.push(report);
  const client = createClient({ baseUrl: server.url, flags, onReport, validate: false, ...options });
  return { server, reports, flags, client };
}

async function failure(call: Promise<unknown>): Promise<BffError> {
  return call.then(
    () => expect.unreachable("it was answered"),
    (error: BffError) => error,
  ) as Promise<BffError>;
}

test("a call goes where its flag says, at once after a flip", async () => {
  const { server, flags, client, reports } = await made("bff", () => ({ body: PAGE }));
  await client.listRuns();
  flags.turn("legacy");
  await client.listRuns({ symbol: "AAPL" });
  expect(server.asked.map(({ url }) => url)).toEqual([
    "/api/v1/runs",
    "/backtests?limit=20&offset=0&order=-created_at&symbol=AAPL",
  ]);
  expect(reports.map(({ side, requests }) => [side, requests])).toEqual([
    ["bff", 1],
    ["legacy", 1],
  ]);
});

test.each([
  ["a 500", { status: 500, body: {} }, "INTERNAL"],
  [
    "a service that nginx cannot reach",
    { status: 502, body: { error: { code: "BACKEND_UNAVAILABLE", message: "-", details: { source: "edge" } } } },
    "BACKEND_UNAVAILABLE",
  ],
  ["a balancer's own page", { status: 503, body: "<html>no server is available</html>" }, "BUSY"],
  ["a broken connection", { broken: true }, "NETWORK"],
])("after %s legacy is asked once, and the report says why", async (_, answer, code) => {
  const { server, client, reports } = await made("bff", ({ url }) =>
    url.startsWith("/api") ? answer : { body: PAGE },
  );
  expect((await client.listRuns()).items).toEqual([]);
  expect(server.asked.map(({ url }) => url.split("?")[0])).toEqual(["/api/v1/runs", "/backtests"]);
  expect(reports).toHaveLength(1);
  expect(reports[0]).toMatchObject({ side: "legacy", requests: 2, fallback: true, error: { code } });
  expect(reports[0]?.error?.correlationId).toMatch(/^[0-9a-f]{32}$/);
});

test("without fallback, and after a refusal, legacy is not asked", async () => {
  const strict = await made("bff", () => ({ status: 502, body: {} }), { fallback: false });
  expect(await failure(strict.client.listRuns())).toMatchObject({ code: "BACKEND_UNAVAILABLE", status: 502 });
  expect(strict.server.asked).toHaveLength(1);
  const refused = await made("bff", () => ({ status: 403, body: { detail: "no" } }));
  expect(await failure(refused.client.listRuns())).toMatchObject({ code: "FORBIDDEN", message: "no" });
  expect(refused.server.asked).toHaveLength(1);
  expect(refused.reports[0]).toMatchObject({ side: "bff", error: { code: "FORBIDDEN" } });
});

test("a run is created with one key on both sides", async () => {
  const { server, client } = await made("bff", ({ url }) =>
    url.startsWith("/api") ? { status: 504, body: {} } : { status: 202, body: { run_id: "r", status: "QUEUED" } },
  );
  expect(await client.createRun({ strategy_id: "s", params: {} })).toEqual({ run_id: "r", status: "QUEUED" });
  const [first, second] = server.asked.map(({ headers }) => headers["idempotency-key"]);
  expect(first).toMatch(/^[0-9a-f]{32}$/);
  expect(second).toBe(first);
});

test("requests for the same thing share one flight", async () => {
  const { server, client, reports } = await made("bff", () => ({ body: { ...CHART, ...COLUMNS } }));
  const query = { symbol: "AAPL", timeframe: "1D", from: "2024-01-01", to: "2024-01-02" } as const;
  const charts = await Promise.all([client.getChart(query), client.getChart({ ...query }), client.getChart(query)]);
  expect(server.asked).toHaveLength(1);
  expect(reports).toHaveLength(1);
  expect(charts[1]?.columns).toEqual(COLUMNS);
  await client.getChart(query);
  expect(server.asked).toHaveLength(2);
});

test("who aborts leaves the flight to the others; when all have, the request ends", async () => {
  let gone = 0;
  let land: (answer: Answer) => void = () => {};
  const { client, server } = await made("bff", () => new Promise<Answer>((resolve) => (land = resolve)), {
    fetch: (input, init) => {
      init?.signal?.addEventListener("abort", () => gone++);
      return fetch(input, init);
    },
  });
  const [one, other] = [new AbortController(), new AbortController()];
  const calls = [client.listRuns({}, { signal: one.signal }), client.listRuns({}, { signal: other.signal })];
  await expect.poll(() => server.asked.length).toBe(1);
  one.abort(new Error("enough"));
  await expect(calls[0]).rejects.toThrow("enough");
  expect(gone).toBe(0);
  land({ body: PAGE });
  expect(await calls[1]).toEqual(PAGE);
  const last = new AbortController();
  const call = client.listRuns({ limit: 1 }, { signal: last.signal });
  await expect.poll(() => server.asked.length).toBe(2);
  last.abort();
  await expect(call).rejects.toMatchObject({ name: "AbortError" });
  expect(gone).toBe(1);
});

test("an abort is no failure: nothing falls back and nothing is reported", async () => {
  const { client, server, reports } = await made("bff", () => new Promise<Answer>(() => {}));
  const controller = new AbortController();
  const call = client.getRun("r", { signal: controller.signal });
  await expect.poll(() => server.asked.length).toBe(1);
  controller.abort();
  await expect(call).rejects.toMatchObject({ name: "AbortError" });
  expect(server.asked).toHaveLength(1);
  expect(reports).toEqual([]);
});

test("a known answer is asked for by its tag, and 304 means the same object", async () => {
  const { client, server, reports } = await made("bff", ({ headers }) =>
    headers["if-none-match"] === '"e1"'
      ? { status: 304, headers: { "cache-status": "bff-aggregator; hit" } }
      : { body: PAGE, headers: { etag: '"e1"' } },
  );
  const first = await client.listRuns();
  expect(await client.listRuns()).toBe(first);
  expect(server.asked.map(({ headers }) => headers["if-none-match"])).toEqual([undefined, '"e1"']);
  expect(reports[1]).toMatchObject({ bytes: 0, cache: "bff-aggregator; hit" });
});

test("answers are kept by who asked", async () => {
  let token = "one";
  const { client, server } = await made("bff", () => ({ body: PAGE, headers: { etag: '"e1"' } }), {
    headers: () => ({ authorization: token }),
  });
  await client.listRuns();
  token = "two";
  await client.listRuns();
  expect(server.asked.map(({ headers }) => [headers.authorization, headers["if-none-match"]])).toEqual([
    ["one", undefined],
    ["two", undefined],
  ]);
});

test("an answer that is no JSON is malformed, and legacy stands in", async () => {
  const { client, reports } = await made("bff", ({ url }) => ({ body: url.startsWith("/api") ? "<html>" : PAGE }));
  await client.listRuns();
  expect(reports[0]).toMatchObject({ fallback: true, error: { code: "MALFORMED" } });
});

test("when legacy fails too, the call fails with the legacy error", async () => {
  const { client, reports } = await made("bff", ({ url }) => ({
    status: url.startsWith("/api") ? 503 : 500,
    body: {},
  }));
  expect(await failure(client.listRuns())).toMatchObject({ status: 500 });
  expect(reports).toHaveLength(1);
});

test("ids are read from the answer's header where its body has none", async () => {
  const { client } = await made("bff", () => ({
    status: 404,
    body: { detail: "x" },
    headers: { "x-request-id": "abc" },
  }));
  const error = await failure(client.getRun("r"));
  expect(error).toBeInstanceOf(BffError);
  expect(error.correlationId).toBe("abc");
});

const LONG = { symbol: "AAPL", timeframe: "1M", from: "2024-01-01", to: "2024-12-31" } as const;
const coarse = JSON.stringify({ ...CHART, ...COLUMNS, metadata: { preview: true } });
const fine = JSON.stringify({ ...CHART, ...COLUMNS, metadata: {} });
const lines = (...text: string[]): Answer => ({
  body: text.map((line) => `${line}\n`).join(""),
  headers: { "content-type": "application/x-ndjson" },
});

test("a preview is passed on where it is asked for, and the call resolves to the exact chart", async () => {
  const { client, server } = await made("bff", () => lines(coarse, fine));
  const previews: unknown[] = [];
  const chart = await client.getChart(LONG, { onPreview: ({ metadata }) => previews.push(metadata) });
  expect(previews).toEqual([{ preview: true }]);
  expect(chart).toMatchObject({ symbol: "AAPL", columns: COLUMNS, metadata: {} });
  expect(server.asked[0]?.headers["accept"]).toBe("application/x-ndjson, application/json");
});

test("without a listener no lines are asked for, and JSON is understood with one", async () => {
  const { client, server } = await made("bff", () => ({ body: JSON.parse(fine) }));
  await client.getChart(LONG);
  expect(await client.getChart(LONG, { onPreview: () => expect.unreachable() })).toMatchObject({ columns: COLUMNS });
  expect(server.asked.map(({ headers }) => headers["accept"])).toEqual([
    "application/json",
    "application/x-ndjson, application/json",
  ]);
});

test("a failure after the preview is that of the call", async () => {
  const error = { status: 504, error: { code: "BACKEND_TIMEOUT", message: "late", details: { correlation_id: "x1" } } };
  const { client, reports } = await made("bff", () => lines(coarse, JSON.stringify(error)));
  const called = client.getChart(LONG, { onPreview: () => undefined });
  expect(await failure(called)).toMatchObject({ code: "BACKEND_TIMEOUT", status: 504, correlationId: "x1" });
  expect(reports[0]).toMatchObject({ side: "bff", error: { code: "BACKEND_TIMEOUT" } });
});
