/** What the address says: which view, of which run, where. A link reproduces the view. Pure. */

import { isRunId, type Timeframe } from "bff-client";
import { REGULAR_MINUTES } from "bff-client/lib/sessions";
import { LISTED_METRICS } from "./metrics.ts";
import { DEFAULT_TIMEFRAME, formatTimeframe, parseTimeframe } from "./timeframes.ts";

export const STATUSES = ["QUEUED", "RUNNING", "DONE", "ERROR", "CANCELLED"] as const;
const RUN_SORT_KEYS = ["created_at", "symbol", "status", "run_from"] as const;
export type RunSortKey = (typeof RUN_SORT_KEYS)[number];
const SORT_KEYS = [...RUN_SORT_KEYS, ...LISTED_METRICS.map(({ key }) => key)] as const;
export type SortKey = (typeof SORT_KEYS)[number];
/** Minutes of a bar in playback, up to a session. 0 lets the speed decide. */
export const BAR_MINUTES = [0, 1, 5, 15, 60, REGULAR_MINUTES] as const;
export const SPEEDS = [0.1, 0.5, 1, 5, 15, 60, 240, 1000] as const;
export const RATES = [10, 15, 30, 60] as const;

export interface ListRoute {
  view: "list";
  symbol: string;
  strategy: string;
  status: string;
  sort: SortKey;
  descending: boolean;
  page: number;
}

export interface RunRoute {
  view: "run";
  run: string;
  timeframe: Timeframe;
  /** Visible range, UTC seconds; the whole run where it is undefined. */
  from: number | undefined;
  to: number | undefined;
}

export interface PlayRoute {
  view: "play";
  run: string;
  speed: number;
  fps: number;
  bar: number;
  /** Position: the time of the last frame seen, UTC seconds. */
  at: number | undefined;
}

export type Route = ListRoute | RunRoute | PlayRoute;

export const LIST: ListRoute = {
  view: "list",
  symbol: "",
  strategy: "",
  status: "",
  sort: "created_at",
  descending: true,
  page: 1,
};

export const runRoute = (run: string): RunRoute => ({
  view: "run",
  run,
  timeframe: DEFAULT_TIMEFRAME,
  from: undefined,
  to: undefined,
});
export const playRoute = (run: string): PlayRoute => ({ view: "play", run, speed: 60, fps: 30, bar: 0, at: undefined });

function oneOf<T>(values: readonly T[], text: string | null, fallback: T): T {
  return values.find((value) => String(value) === text) ?? fallback;
}

function between(text: string | null, low: number, high: number, fallback: number): number {
  const value = Number(text);
  return text && value >= low && value <= high ? value : fallback;
}

/** Times in an address are minutes of UTC, `2024-01-02T14:30`: short and readable. */
function readTime(text: string | null): number | undefined {
  const match = text && /^\d{4}-\d\d-\d\d(T\d\d:\d\d)?$/.test(text);
  const milliseconds = match ? Date.parse(text.includes("T") ? `${text}Z` : text) : Number.NaN;
  return Number.isFinite(milliseconds) ? milliseconds / 1000 : undefined;
}

const writeTime = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 16);

/** Read the query of an address; what it does not say, or says wrongly, is as usual. */
export function parseRoute(search: string): Route {
  const query = new URLSearchParams(search);
  const run = query.get("run");
  if (!run || !isRunId(run)) return parseList(query);
  if (query.get("view") === "play") {
    return {
      view: "play",
      run,
      speed: between(query.get("speed"), 0.1, 3600, 60),
      fps: between(query.get("fps"), 1, 60, 30),
      bar: oneOf(BAR_MINUTES, query.get("bar"), 0),
      at: readTime(query.get("at")),
    };
  }
  const from = readTime(query.get("from"));
  const to = readTime(query.get("to"));
  const known = from !== undefined && to !== undefined && from < to;
  return {
    view: "run",
    run,
    timeframe: parseTimeframe(query.get("tf")),
    from: known ? from : undefined,
    to: known ? to : undefined,
  };
}

function parseList(query: URLSearchParams): ListRoute {
  return {
    view: "list",
    symbol: query.get("symbol") ?? "",
    strategy: query.get("strategy") ?? "",
    status: oneOf<string>(STATUSES, query.get("status"), ""),
    sort: oneOf(SORT_KEYS, query.get("sort"), "created_at"),
    descending: query.get("dir") !== "asc",
    page: Math.floor(between(query.get("page"), 1, 10_000, 1)),
  };
}

/** Return the address of a view, `/?…`; what is as usual is left out. */
export function formatRoute(route: Route): string {
  const query = new URLSearchParams();
  const set = (name: string, value: string | number | undefined, usual?: string | number) => {
    if (value !== undefined && value !== "" && value !== usual) query.set(name, String(value));
  };
  if (route.view === "list") {
    set("symbol", route.symbol);
    set("strategy", route.strategy);
    set("status", route.status);
    set("sort", route.sort, LIST.sort);
    set("dir", route.descending ? "desc" : "asc", "desc");
    set("page", route.page, 1);
  } else if (route.view === "run") {
    set("run", route.run);
    set("tf", formatTimeframe(route.timeframe), formatTimeframe(DEFAULT_TIMEFRAME));
    set("from", route.from === undefined ? undefined : writeTime(route.from));
    set("to", route.to === undefined ? undefined : writeTime(route.to));
  } else {
    set("run", route.run);
    set("view", "play");
    set("speed", route.speed, 60);
    set("fps", route.fps, 30);
    set("bar", route.bar, 0);
    set("at", route.at === undefined ? undefined : writeTime(route.at));
  }
  const text = query.toString().replaceAll("%3A", ":");
  return text ? `/?${text}` : "/";
}
