/** What the present view costs over each side, measured by loading its data once over each. */

import { type Client, createClient, type FlagSource, type Report } from "bff-client";
import { CHART_POINTS, LIST_LIMIT } from "../../api/queries.ts";
import { daysAround, runBounds } from "../../charts/chart-window.ts";
import type { Route } from "../../lib/route.ts";
import { addReport, type Cost, NO_COST, type Side } from "./call-costs.ts";

const STREAM_MS = 15_000;

/** A client that stays on one side, to measure it; its calls are charged to nobody. */
function fixedSideClient(side: "bff" | "legacy", onReport: (report: Report) => void): Client {
  const fixed: FlagSource = {
    side: () => side,
    details: () => [],
    override: () => undefined,
    subscribe: () => () => undefined,
    start: () => Promise.resolve(),
    close: () => undefined,
  };
  return createClient({ flags: fixed, fallback: false, onReport });
}

/** Resolve when the first frame of a run has come, or reject after a while. */
function firstFrame(client: Client, id: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = client.openStream(id, { autoplay: true });
    const end = (error?: Error) => {
      clearTimeout(timer);
      stream.close();
      if (error) reject(error);
      else resolve();
    };
    const timer = setTimeout(() => end(new Error("no frame came in time")), STREAM_MS);
    stream.on("frame", () => end());
    stream.on("error", ({ message, fatal }) => fatal && end(new Error(message)));
  });
}

async function loadRun(client: Client, route: Extract<Route, { view: "run" }>): Promise<void> {
  if (route.from === undefined) {
    const { run, chart } = client.getView(route.run, { timeframe: route.timeframe, targetPoints: CHART_POINTS });
    // A run without a symbol has no chart.
    await Promise.all([run, chart.catch(() => undefined)]);
    return;
  }
  const { run } = await client.getRun(route.run);
  if (!run.symbol || !run.run_from || !run.run_to) return;
  const bounds = runBounds(run);
  const seen = { from: route.from ?? bounds.from, to: route.to ?? bounds.to };
  await client.getChart({
    symbol: run.symbol,
    timeframe: route.timeframe,
    ...daysAround(seen, bounds),
    targetPoints: CHART_POINTS,
  });
}

async function loadView(client: Client, route: Route): Promise<void> {
  if (route.view === "run") await loadRun(client, route);
  else if (route.view === "play") await firstFrame(client, route.run);
  else await client.listRuns({ limit: LIST_LIMIT, order: "-created_at" });
}

async function measureSide(side: Side, route: Route): Promise<Cost> {
  let sum = NO_COST;
  let reported = () => {};
  const firstReport = new Promise<void>((resolve) => {
    reported = resolve;
  });
  const client = fixedSideClient(side, (report: Report) => {
    sum = addReport(sum, report);
    reported();
  });
  const began = performance.now();
  try {
    await loadView(client, route);
    const ms = performance.now() - began;
    // A view is reported a moment after its parts are there.
    if (route.view === "run") await firstReport;
    return { ...sum, ms };
  } finally {
    client.close();
  }
}

/** Load what a view shows over legacy, then over the BFF. */
export async function compareSides(route: Route): Promise<Record<Side, Cost>> {
  const legacy = await measureSide("legacy", route);
  return { legacy, bff: await measureSide("bff", route) };
}
