/** A server that speaks of one run, and what it says. */

import { expect } from "vitest";
import {
  type BffError,
  type ClientOptions,
  createClient,
  type Group,
  type Report,
  type Side,
  type View,
  type ViewQuery,
} from "../../../src/index.ts";
import { Switches } from "../../switches.ts";
import { type Answer, type Asked, serve } from "../server.ts";

export const NAMES = {
  run_id: "r1",
  strategy_id: "s",
  symbol: "AAPL",
  created_at: "2025-01-02T00:00:00Z",
  duration_ms: 12,
  started_at: null,
  completed_at: null,
  error_message: null,
};
export const WINDOW = { run_from: "2024-01-01", run_to: "2024-01-31" };
export const HEAD = { ...NAMES, ...WINDOW, status: "DONE", finished: true, progress: 1, revision: "abc", stale: false };
export const RUN = {
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
export const COLUMNS = { t: [1], o: [1], h: [1], l: [1], c: [1], v: [1] };
export const CHART = {
  s: "ok",
  symbol: "AAPL",
  timeframe: "1D",
  from_date: "2024-01-01",
  to_date: "2024-01-31",
  metadata: {},
};
export const QUERY: ViewQuery = { timeframe: "1D", targetPoints: 500, equityPoints: 300 };
export const VIEW = "/api/v1/runs/r1/view?timeframe=1D&target_points=500&equity_points=300";
export const RUN_URL = "/api/v1/runs/r1/complete?equity_points=300";
export const CHART_URL =
  "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from_date=2024-01-01&to_date=2024-01-31&target_points=500&format=columns";

export const line = (name: string, body: unknown, more: object = {}): string =>
  `${JSON.stringify({ name, status: 200, body, ...more })}\n`;
export const LINES = {
  head: line("head", HEAD),
  chart: line("chart", { ...CHART, ...COLUMNS }, { etag: '"c1"' }),
  run: line("run", RUN, { etag: '"r1"' }),
};
export const failed = (name: string, status: number, code: string): string =>
  line(name, { error: { code, message: "so it is", details: { correlation_id: "of-the-part" } } }, { status });

export async function* pieces(...all: string[]): AsyncGenerator<string> {
  for (const piece of all) yield piece;
}

export async function* cut(...all: string[]): AsyncGenerator<string> {
  for (const piece of all) yield piece;
  throw new Error("cut");
}

/** What is written when a test says so. */
export function dictated(): { say(piece: string): void; end(): void; stream: AsyncGenerator<string> } {
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
export function backend({ url }: Asked): Answer {
  const [path] = url.split("?");
  if (path === "/backtests/r1") return { body: RUN.run };
  if (path === "/backtests/r1/orders") return { body: [] };
  if (path?.startsWith("/backtests/r1/")) return { status: 404, body: { detail: "none" } };
  if (path === "/bars/daily") return { body: { bars: [{ t: "2024-01-02T00:00:00Z", o: 1, h: 2, l: 1, c: 2, v: 3 }] } };
  return { status: 404, body: { detail: "no such path" } };
}

/** The BFF's single calls, and the backend. */
export function single(asked: Asked): Answer {
  if (asked.url === RUN_URL) return { body: RUN };
  if (asked.url === CHART_URL) return { body: { ...CHART, ...COLUMNS, metadata: { single: true } } };
  return backend(asked);
}

export class Sides extends Switches {
  readonly sides: Partial<Record<Group, Side>>;

  constructor(sides: Partial<Record<Group, Side>>) {
    super("bff");
    this.sides = sides;
  }

  override side(group: Group): Side {
    return this.sides[group] ?? this.all;
  }
}

export async function made(
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

export const viewed =
  (...all: string[]) =>
  ({ url }: Asked): Answer | undefined =>
    url.startsWith("/api/v1/runs/r1/view") ? { pieces: pieces(...all) } : undefined;

export async function failure(part: Promise<unknown>): Promise<BffError> {
  return part.then(
    () => expect.unreachable("it was answered"),
    (error: BffError) => error,
  ) as Promise<BffError>;
}

export const all = ({ head, chart, run }: View) => Promise.all([head, chart, run]);
