/** The example of a collector: what a client reports is what Prometheus is told. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, onTestFinished, test, vi } from "vitest";
import { collectReports } from "../../examples/collect-reports.ts";
import type { Report } from "../../src/types.ts";

const COLLECTOR = new URL("../../examples/collector.mjs", import.meta.url).pathname;
const report = (fields: Partial<Report>): Report => ({
  call: "getChart",
  group: "chart_data",
  side: "bff",
  requests: 1,
  bytes: 10,
  ms: 20,
  ...fields,
});

async function collector(): Promise<string> {
  const process_ = spawn(process.execPath, [COLLECTOR, "0"], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void process_.kill());
  const [line] = await once(process_.stdout, "data");
  return /http:\S+/.exec(String(line))?.[0] as string;
}

test("reports arrive at the collector, added up by call and side", async () => {
  const url = await collector();
  const sent: Promise<unknown>[] = [];
  const send = (to: string, body: string): boolean => sent.push(fetch(to, { method: "POST", body })) > 0;
  const collection = collectReports(url, { send });
  collection.onReport(report({ ms: 20 }));
  collection.onReport(
    report({ ms: 30, fallback: true, side: "legacy", error: { code: "TIMEOUT", correlationId: null } }),
  );
  collection.onReport(report({ ms: 40 }));
  collection.onReport(report({ call: 'x",evil="1' as Report["call"] }));
  collection.stop();
  await Promise.all(sent);
  expect((await (await fetch(url)).text()).trim().split("\n").sort()).toEqual([
    'page_call_errors_total{call="getChart",side="legacy"} 1',
    'page_call_fallbacks_total{call="getChart",side="legacy"} 1',
    'page_call_seconds_total{call="getChart",side="bff"} 0.06',
    'page_call_seconds_total{call="getChart",side="legacy"} 0.03',
    'page_calls_total{call="getChart",side="bff"} 2',
    'page_calls_total{call="getChart",side="legacy"} 1',
    "page_dropped_total 0",
    "page_refused_total 1",
  ]);
  expect((await fetch(url, { method: "POST", body: "{" })).status).toBe(400);
});

test("what finds no room, and what is not taken, is counted", () => {
  const bodies: { entries: unknown[]; dropped: number }[] = [];
  let taken = false;
  const send = (_: string, body: string): boolean => {
    bodies.push(JSON.parse(body));
    return taken;
  };
  const collection = collectReports("/reports", { most: 2, send });
  for (let n = 0; n < 5; n++) collection.onReport(report({}));
  collection.flush();
  taken = true;
  collection.onReport(report({}));
  collection.stop();
  expect(bodies.map(({ entries, dropped }) => [entries.length, dropped])).toEqual([
    [2, 3],
    [1, 5],
  ]);
});

test("a batch goes each so many seconds, and none without reports", () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const send = vi.fn(() => true);
  const collection = collectReports("/reports", { everyMs: 1000, send });
  vi.advanceTimersByTime(3000);
  expect(send).not.toHaveBeenCalled();
  collection.onReport(report({}));
  vi.advanceTimersByTime(1000);
  expect(send).toHaveBeenCalledTimes(1);
  collection.stop();
});
