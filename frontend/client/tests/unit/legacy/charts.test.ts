import { expect, test } from "vitest";
import { type ChartQuery, createClient, type FlagSource } from "../../../src/index.ts";
import { serve } from "../server.ts";

const LEGACY: FlagSource = {
  side: () => "legacy",
  details: () => [],
  override: () => undefined,
  subscribe: () => () => undefined,
  start: () => Promise.resolve(),
  close: () => undefined,
};
const OPEN = Date.UTC(2024, 0, 2, 14, 30);
const MINUTE = 60_000;

/** A backend with one session of minutes, whose close is the number of its minute. */
async function backend() {
  const bars = Array.from({ length: 390 }, (_, minute) => ({
    t: new Date(OPEN + minute * MINUTE).toISOString(),
    o: minute - 1,
    h: minute + 0.5,
    l: minute - 1.5,
    c: minute,
    v: 1,
  }));
  const server = await serve(() => ({ body: { bars } }));
  return { server, client: createClient({ baseUrl: server.url, flags: LEGACY }) };
}

const query = (rest: Partial<ChartQuery> = {}): ChartQuery => ({
  symbol: "AAPL",
  timeframe: "5M",
  from: "2024-01-02",
  to: "2024-01-02",
  ...rest,
});

test("bars of five minutes are merged from the backend's minutes, however few there are", async () => {
  const { server, client } = await backend();
  const { timeframe, columns, metadata } = await client.getChart(query());
  expect(server.asked.map(({ url }) => url.split("?")[0])).toEqual(["/bars/minute"]);
  expect(timeframe).toBe("5M");
  expect(columns.t).toEqual(Array.from({ length: 78 }, (_, bar) => (OPEN + bar * 5 * MINUTE) / 1000));
  expect([columns.o[1], columns.h[1], columns.l[1], columns.c[1], columns.v[1]]).toEqual([4, 9.5, 3.5, 9, 5]);
  expect(metadata).toMatchObject({
    total_bars: 78,
    source_bars: 390,
    source_timeframe: "1M",
    decimated: false,
    decimation_stride: 5,
  });
});

test("minutes that are too many become bars of the finest size that fits, and say that they were decimated", async () => {
  const { client } = await backend();
  const { columns, metadata } = await client.getChart(query({ timeframe: "1M", targetPoints: 130 }));
  expect(columns.t).toHaveLength(130);
  expect(metadata).toMatchObject({ source_timeframe: "1M", decimated: true, decimation_stride: 3 });
});

test("a timeframe that there is not is refused by name, without a call", async () => {
  const { server, client } = await backend();
  const refused = client.getChart(query({ timeframe: "7M" as ChartQuery["timeframe"] }));
  await expect(refused).rejects.toMatchObject({ code: "VALIDATION", status: 422 });
  expect(server.asked).toEqual([]);
});

test("a symbol is asked for as it was typed, and one that is known in capitals is named in the error", async () => {
  const bar = { t: "2024-01-02T00:00:00Z", o: 1, h: 1, l: 1, c: 1, v: 1 };
  const known = ["^GSPC", "AMpB", "M&M.NS", "AAPL"];
  const server = await serve(({ url }) => {
    const symbol = new URL(url, "http://backend").searchParams.get("symbol") ?? "";
    return known.includes(symbol) ? { body: { bars: [bar] } } : { status: 404, body: {} };
  });
  const client = createClient({ baseUrl: server.url, flags: LEGACY });
  for (const symbol of ["^GSPC", "AMpB", "M&M.NS"]) {
    const chart = await client.getChart(query({ symbol, timeframe: "1D" }));
    expect([chart.symbol, chart.columns.c]).toEqual([symbol, [1]]);
  }
  const unknown = (symbol: string) => client.getChart(query({ symbol, timeframe: "1D" }));
  await expect(unknown("aapl")).rejects.toMatchObject({
    code: "DATASET_NOT_FOUND",
    details: { symbol: "aapl", did_you_mean: "AAPL" },
  });
  await expect(unknown("nope")).rejects.toMatchObject({ details: { symbol: "nope", known: null } });
});

const serveBars = async (bars: unknown[]) => {
  const server = await serve(() => ({ body: { bars } }));
  return createClient({ baseUrl: server.url, flags: LEGACY });
};

test("any volume makes a bar: fractions stay, what is missing is null, and both add up", async () => {
  const at = (minute: number) => new Date(OPEN + minute * MINUTE).toISOString();
  const bar = (minute: number, v?: unknown) => ({ t: at(minute), o: 1, h: 2, l: 0, c: 1, v });
  const client = await serveBars([...[0.3, 0.5, null, undefined, "0.25"].map((v, n) => bar(n, v)), bar(5), bar(10, 2)]);
  const ones = await client.getChart(query({ timeframe: "1M" }));
  expect(ones.columns.v).toEqual([0.3, 0.5, null, null, 0.25, null, 2]);
  expect(ones.metadata.rejected_bars).toBe(0);
  expect((await client.getChart(query())).columns.v).toEqual([1.05, null, 2]);
});

test("bars in a vendor's words are read", async () => {
  const words = { open: "1.5", high: "2", low: " 1e0", close: "-1.25" };
  for (const unit of [1, 1e3, 1e6]) {
    const client = await serveBars([{ timestamp: (OPEN / 1000) * unit, ...words }]);
    const { columns } = await client.getChart(query({ timeframe: "1M" }));
    expect(columns).toEqual({ t: [OPEN / 1000], o: [1.5], h: [2], l: [1], c: [-1.25], v: [null] });
  }
});

test("bars that are all unreadable are no unknown symbol: the error names the field", async () => {
  const client = await serveBars([{ t: "2024-01-02T14:30:00Z", o: 1, h: 2, l: 0, c: "one" }]);
  await expect(client.getChart(query({ timeframe: "1M" }))).rejects.toMatchObject({
    code: "BACKEND_UNAVAILABLE",
    status: 502,
    message: expect.stringContaining("`c`"),
  });
});

test("prices come with the digits that they have", async () => {
  const bar = (n: number) => {
    const [c, t] = [(1234 + n) / 1e8, new Date(OPEN + n * MINUTE).toISOString()];
    return { t, o: c, h: c, l: c, c, v: 1 };
  };
  const client = await serveBars(Array.from({ length: 50 }, (_, n) => bar(n)));
  expect((await client.getChart(query({ timeframe: "1M" }))).metadata.price_format).toEqual({
    digits: 8,
    min_move: 1e-8,
  });
});
