/** When legacy answers for the BFF, and when it is left alone. */

import { expect, onTestFinished, test, vi } from "vitest";
import { BffError, type ClientOptions, createClient, type Report } from "../../../src/index.ts";
import { Switches } from "../../switches.ts";
import { type Answer, type Asked, serve } from "../server.ts";

const PAGE = { items: [], total: 0, limit: 20, offset: 0, metadata: {} };
const RUNS = Array.from({ length: 100 }, (_, i) => ({ run_id: `r${i}`, status: "DONE", dataset_id: "AAPL-2024-1m" }));
const error = (status: number, code: string, details: object = {}, headers = {}): Answer => ({
  status,
  headers,
  body: { error: { code, message: "so it is", details: { correlation_id: "c", ...details } } },
});
const hang = (): Promise<Answer> => new Promise(() => {});

async function made(bff: (asked: Asked) => Answer | Promise<Answer>, options: Partial<ClientOptions> = {}) {
  const server = await serve((asked) => {
    if (asked.url.startsWith("/api")) return bff(asked);
    if (asked.url.startsWith("/backtests?")) return { body: { ...PAGE, items: RUNS } };
    return { body: asked.url.endsWith("/metrics") ? { total_return: 0.1 } : RUNS[1] };
  });
  const reports: Report[] = [];
  const onReport = (report: Report): unknown => reports.push(report);
  const settings = { baseUrl: server.url, flags: new Switches("bff"), validate: false, onReport, ...options };
  const client = createClient(settings);
  onTestFinished(() => client.close());
  const backend = () => server.asked.filter(({ url }) => url.startsWith("/backtests")).map(({ url }) => url);
  const api = () => server.asked.filter(({ url }) => url.startsWith("/api/v1/runs")).map(({ url }) => url);
  const probes = () => server.asked.filter(({ url }) => url.includes("/openapi/")).length;
  return { client, reports, backend, api, probes };
}

const failure = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => expect.unreachable("it was answered"),
    (reason) => reason,
  );

test.each([
  [503, "BACKEND_CIRCUIT_OPEN"],
  [504, "BACKEND_TIMEOUT"],
  [502, "BACKEND_UNAVAILABLE"],
  [503, "BUSY"],
])("after %i %s of a service the backend is not asked, and the call says when to try again", async (status, code) => {
  const { client, backend, reports } = await made(() => error(status, code, {}, { "retry-after": "7" }));
  const told = await failure(client.listRuns({ limit: 100 }));
  expect(told).toBeInstanceOf(BffError);
  expect(told).toMatchObject({ code, status, retryAfterMs: 7000, retryable: true });
  expect(await failure(client.getRun("r1"))).toMatchObject({ code });
  const query = { symbol: "AAPL", timeframe: "1D", from: "2024-01-01", to: "2024-01-02" } as const;
  expect(await failure(client.getChart(query))).toMatchObject({ code });
  expect(await failure(client.getView("r1", { timeframe: "1D" }).run)).toMatchObject({ code, retryAfterMs: 7000 });
  expect(await failure(client.createRun({ strategy_id: "s", params: {} }))).toMatchObject({ code });
  expect(backend()).toEqual([]);
  expect(reports.every(({ side, fallback }) => side === "bff" && !fallback)).toBe(true);
});

test("a backend's own refusal without a code is not taken for a balancer's", async () => {
  const { client, backend } = await made(() => ({ status: 503, body: { detail: "too much" } }));
  expect(await failure(client.listRuns())).toMatchObject({ code: "BUSY", message: "too much" });
  expect(backend()).toEqual([]);
});

test("a BFF that hangs is waited for once; then legacy answers at once until a probe has found it", async () => {
  let hangs = true;
  const { client, api, probes, reports } = await made(
    ({ url }) => (hangs ? hang() : { body: url.includes("openapi") ? {} : PAGE }),
    { readMs: 400, returnMs: 50 },
  );
  const since = performance.now();
  expect((await client.listRuns()).items).toHaveLength(100);
  expect(performance.now() - since).toBeGreaterThan(390);
  for (const id of ["r1", "r2", "r3"]) await client.getRun(id, { include: [] });
  expect(api()).toHaveLength(1);
  expect(reports.map(({ side, fallback, error: why }) => [side, fallback, why?.code])).toEqual(
    Array(4).fill(["legacy", true, "TIMEOUT"]),
  );
  hangs = false;
  await expect.poll(probes).toBeGreaterThan(0);
  await expect.poll(async () => (await client.listRuns()).items.length).toBe(0);
  expect(reports.at(-1)).toMatchObject({ side: "bff", requests: 1 });
});

test("who waits already when the BFF is found to be silent waits no longer either", async () => {
  const given: number[] = [];
  const { client, reports } = await made(hang, {
    readMs: 1200,
    fetch: (input, init) => {
      init?.signal?.addEventListener("abort", () => given.push(performance.now()));
      return fetch(input, init);
    },
  });
  const first = client.listRuns();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await Promise.all([first, client.getRun("r1", { include: [] })]);
  const [one = 0, other = 0] = given;
  // By its own deadline the second would have waited for a second more.
  expect(other - one).toBeLessThan(500);
  expect(reports.map(({ side, error: why }) => [side, why?.code])).toEqual(Array(2).fill(["legacy", "TIMEOUT"]));
});

test("an answer that goes on coming is not late, however long it takes", async () => {
  async function* slowly(): AsyncGenerator<string> {
    for (const piece of JSON.stringify(PAGE).match(/.{1,3}/g) ?? []) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      yield piece;
    }
  }
  const { client, reports } = await made(() => ({ pieces: slowly() }), { readMs: 1500 });
  expect(await client.listRuns()).toEqual(PAGE);
  expect(reports[0]).toMatchObject({ side: "bff" });
});

test("an answer that stops coming is late", async () => {
  async function* stopping(): AsyncGenerator<string> {
    yield '{"items":';
    await hang();
  }
  const { client, reports } = await made(() => ({ pieces: stopping() }), { readMs: 300 });
  expect((await client.listRuns()).items).toHaveLength(100);
  expect(reports[0]).toMatchObject({ side: "legacy", error: { code: "TIMEOUT" } });
});

test("a defect met by one request sends that request alone to legacy", async () => {
  const { client, api, reports } = await made(({ url }) =>
    url.includes("/r1/") ? error(500, "INTERNAL") : { body: PAGE },
  );
  for (let i = 0; i < 3; i++) await client.getRun("r1", { include: [] });
  await client.listRuns();
  expect(api()).toHaveLength(4);
  expect(reports.map(({ side }) => side)).toEqual(["legacy", "legacy", "legacy", "bff"]);
});

test("a service that nginx cannot reach is left alone after the second try, and asked by one probe at a time", async () => {
  const away = error(502, "BACKEND_UNAVAILABLE", { source: "edge" });
  const { client, api, probes } = await made(({ url }) => (url.includes("/openapi/") ? hang() : away), {
    returnMs: 40,
    readMs: 60_000,
  });
  for (let i = 0; i < 10; i++) await client.getRun("r1", { include: [] });
  expect(api()).toHaveLength(2);
  await expect.poll(probes, { timeout: 10_000 }).toBe(1);
  for (let i = 0; i < 10; i++) await client.getRun("r1", { include: [] });
  expect(probes()).toBe(1);
  expect(api()).toHaveLength(2);
});

test("legacy asks for the metrics of the runs on the screen, and once for those of a finished run", async () => {
  const { client, backend } = await made(() => ({ body: PAGE }), { flags: new Switches("legacy") });
  const { items } = await client.listRuns({ limit: 100 }, { shown: (runs) => runs.slice(0, 25) });
  expect(backend()).toHaveLength(26);
  expect(items.map(({ metrics_state: state }) => state)).toEqual([
    ...Array(25).fill("ok"),
    ...Array(75).fill("skipped"),
  ]);
  const again = await client.listRuns({ limit: 100 }, { shown: (runs) => runs.slice(20, 30) });
  expect(backend()).toHaveLength(26 + 1 + 5);
  expect(again.items.filter(({ metrics_state: state }) => state === "ok")).toHaveLength(30);
});

test("an item of legacy's list that is no run is counted, and costs the others nothing", async () => {
  const list = (items: unknown[]) => serve(() => ({ body: { ...PAGE, items } }));
  const of = async (items: unknown[]) => {
    const { url: baseUrl } = await list(items);
    return createClient({ baseUrl, flags: new Switches("legacy"), validate: false }).listRuns({}, { shown: () => [] });
  };
  const page = await of([RUNS[0], null, { run_id: "r1", status: 7 }, RUNS[2]]);
  expect(page.items.map(({ run_id: id }) => id)).toEqual(["r0", "r2"]);
  expect(page.metadata.rejected).toBe(2);
  expect(await failure(of([null]))).toMatchObject({ code: "BACKEND_UNAVAILABLE" });
});

test("a listener of reports that throws breaks no call, and no other listener", async () => {
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => said.mockRestore());
  const { client } = await made(() => ({ body: PAGE }), {
    onReport: () => {
      throw new Error("of the listener");
    },
  });
  const heard: Report[] = [];
  client.on((report) => heard.push(report));
  expect(await client.listRuns()).toEqual(PAGE);
  expect(heard).toHaveLength(1);
  expect(said).toHaveBeenCalledOnce();
});

test("a browser without AbortSignal.any makes every call", async () => {
  const { any } = AbortSignal;
  Reflect.deleteProperty(AbortSignal, "any");
  onTestFinished(() => {
    AbortSignal.any = any;
  });
  const { client, reports } = await made(() => ({ body: PAGE }));
  expect(await client.listRuns()).toEqual(PAGE);
  expect(reports[0]).toMatchObject({ side: "bff" });
});
