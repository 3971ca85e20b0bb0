import { expect, onTestFinished, test } from "vitest";
import { OfrepFlags, type OfrepOptions } from "../../../src/index.ts";
import { type Answer, serve } from "../server.ts";

class Memory {
  readonly kept = new Map<string, string>();
  getItem = (key: string): string | null => this.kept.get(key) ?? null;
  setItem = (key: string, value: string): unknown => this.kept.set(key, value);
}

const all = (value: boolean) =>
  ["bff", "chart_data", "run_data", "websocket"].map((key) => ({
    key,
    value,
    variant: value ? "on" : "off",
    reason: "STATIC",
    metadata: { source: "file", reason: "as delivered" },
  }));

async function made(answer: () => Answer, options: Partial<OfrepOptions> = {}) {
  const server = await serve(answer);
  const storage = new Memory();
  const patient = { pollMs: 10, timeoutMs: 60_000 };
  const flags = new OfrepFlags({ baseUrl: server.url, EventSource: null, storage, ...patient, ...options });
  onTestFinished(() => flags.close());
  return { server, storage, flags };
}

test("before anything is known every group is on the legacy side", () => {
  const flags = new OfrepFlags({ EventSource: null, storage: null });
  expect(flags.side("chart_data")).toBe("legacy");
  expect(flags.details().map(({ value, evaluation }) => [value, evaluation])).toEqual(
    Array(4).fill([false, "DEFAULT"]),
  );
});

test("a group is on the BFF's side when the master and its own flag are on", async () => {
  let flags = all(true);
  const source = await made(() => ({ body: { flags } }));
  await source.flags.start();
  expect(source.flags.side("run_data")).toBe("bff");
  expect(source.flags.details()[0]).toMatchObject({ key: "bff", value: true, reason: "as delivered", source: "file" });
  flags = flags.map((flag) => (flag.key === "bff" ? { ...flag, value: false } : flag));
  await expect.poll(() => source.flags.side("run_data")).toBe("legacy");
});

test("polling asks by the tag, and tells only of changes", async () => {
  let version = 1;
  const source = await made(() => ({ body: { flags: all(version % 2 === 1) }, headers: { etag: `"${version}"` } }));
  let told = 0;
  source.flags.subscribe(() => told++);
  await source.flags.start();
  await expect.poll(() => source.server.asked.length).toBeGreaterThan(3);
  expect(source.server.asked.at(-1)?.headers["if-none-match"]).toBe('"1"');
  expect(told).toBe(1);
  version = 2;
  await expect.poll(() => told).toBe(2);
  expect(source.flags.side("chart_data")).toBe("legacy");
});

test("an evaluation that takes too long is given up, and what was known last counts", async () => {
  const known = await made(() => ({ body: { flags: all(true) } }));
  await known.flags.start();
  known.flags.close();
  const never: typeof fetch = (_, init) =>
    new Promise((_resolve, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
  const flags = new OfrepFlags({ EventSource: null, storage: known.storage, fetch: never, timeoutMs: 10 });
  onTestFinished(() => flags.close());
  await flags.start();
  expect(flags.side("chart_data")).toBe("bff");
});

test("the key that percentages hang on stays with the browser", async () => {
  const { server, storage, flags } = await made(() => ({ body: { flags: [] } }));
  await flags.start();
  const again = new OfrepFlags({ baseUrl: server.url, EventSource: null, storage, timeoutMs: 60_000 });
  onTestFinished(() => again.close());
  await again.start();
  const keys = new Set(server.asked.map(({ body }) => JSON.parse(body).context.targetingKey));
  expect(keys.size).toBe(1);
});

test("without an answer the last known flags count, and say so", async () => {
  const known = await made(() => ({ body: { flags: all(true) } }));
  await known.flags.start();
  known.flags.close();
  const { flags } = await made(() => ({ status: 502 }), { storage: known.storage });
  await flags.start();
  expect(flags.side("websocket")).toBe("bff");
  expect(flags.details()[0]).toMatchObject({ evaluation: "CACHED", source: "cache" });
});

test("an answer that is no JSON, and a store that is full or broken, change nothing", async () => {
  const storage = { getItem: () => "{", setItem: () => expect.unreachable("full") };
  const { flags } = await made(() => ({ body: "<html>" }), { storage });
  await flags.start();
  expect(flags.side("chart_data")).toBe("legacy");
});

test("a switch of this browser wins, is told at once, and can be taken back", async () => {
  const { flags, storage } = await made(() => ({ body: { flags: all(true) } }));
  await flags.start();
  let told = 0;
  flags.subscribe(() => told++);
  flags.override("chart_data", false);
  expect([told, flags.side("chart_data"), flags.side("run_data")]).toEqual([1, "legacy", "bff"]);
  expect(flags.details()[1]).toMatchObject({ key: "chart_data", value: false, overridden: true });
  expect(new OfrepFlags({ EventSource: null, storage }).side("chart_data")).toBe("legacy");
  flags.override("chart_data", undefined);
  expect([told, flags.side("chart_data")]).toEqual([2, "bff"]);
});
