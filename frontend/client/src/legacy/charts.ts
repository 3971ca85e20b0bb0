/**
 * Charts from the backend's `/bars/*`: one call a quarter, put in order and decimated in the browser. As with the BFF a
 * window is widened to whole buckets, so that a stamp's candle is the same in every window.
 */

import { BffError, isObject } from "../errors.ts";
import type { RequestContext } from "../http/request-context.ts";
import { isSymbol } from "../lib/keys.ts";
import { type PriceFormat, priceFormatOf } from "../lib/price-format.ts";
import { lastIndexAtOrBefore } from "../lib/search.ts";
import { REGULAR_MINUTES } from "../lib/sessions.ts";
import { DAY, isoTime } from "../lib/time.ts";
import type { Chart, ChartQuery, Columns, Timeframe } from "../types.ts";
import { absentFields, isUsable, readFields } from "./bar-fields.ts";
import { mapConcurrently } from "./concurrency.ts";
import { Buckets, type Clock } from "./resample.ts";
import { malformedResponse } from "./schema.ts";
import { areRegular } from "./trading-sessions.ts";

/** The backend's bars: whose timeframe they are as they come, their minutes of trading, and the days of one call at most. */
const DAILY = { timeframe: "1D", path: "/bars/daily", minutes: REGULAR_MINUTES, days: 3660 } as const;
const HOURS = { timeframe: "1H", path: "/bars/hour", minutes: 60, days: 366 } as const;
const MINUTES = { timeframe: "1M", path: "/bars/minute", minutes: 1, days: 92 } as const;

type Source = typeof DAILY | typeof HOURS | typeof MINUTES;

/** Every timeframe: the minutes of trading of its bars, and the bars that it is made from. */
const TIMEFRAMES: Record<Timeframe, { minutes: number; source: Source }> = {
  "1D": { minutes: REGULAR_MINUTES, source: DAILY },
  "1H": { minutes: 60, source: HOURS },
  "5M": { minutes: 5, source: MINUTES },
  "1M": { minutes: 1, source: MINUTES },
};
const MAX_CONCURRENT = 4;
const DATE = /^\d{4}-\d\d-\d\d$/;

/** Bars as they came, and how many of them were put right or left out. */
interface SourceBars {
  columns: Columns;
  rejected: number;
}

/** What a session out of regular hours may reach beyond its own date, and what tells where it begins and ends. */
const NEIGHBOURS = 2;

/** Days since the epoch, both included. */
interface Days {
  from: number;
  to: number;
}

export async function getChart(context: RequestContext, query: ChartQuery): Promise<Chart> {
  const since = performance.now();
  const { timeframe, targetPoints = 10_000, rthOnly = true } = query;
  const symbol = query.symbol.trim();
  validateQuery(query, targetPoints);
  const { minutes: finest, source } = TIMEFRAMES[timeframe];
  const bars = new BarLoader(context, symbol, source, rthOnly);
  const asked = { from: days(query.from), to: days(query.to) };
  await bars.load(asked);
  if (!bars.columns.t.length) await requireExtent(context, symbol, query);
  const made = await decimated(bars, asked, targetPoints, { finest, rthOnly });
  return {
    symbol,
    timeframe,
    from_date: query.from,
    to_date: query.to,
    columns: made.columns,
    metadata: {
      total_bars: made.columns.t.length,
      source_bars: made.sources,
      source_timeframe: source.timeframe,
      decimated: made.stride > Math.max(finest, source.minutes),
      decimation_stride: made.stride,
      rejected_bars: bars.rejected,
      cache_hit: false,
      stale: false,
      load_time_ms: performance.now() - since,
      backend_calls: context.requests,
      data_source: "backend",
      price_format: formatOf(made.columns),
      window: { from_date: date(made.window.from), to_date: date(made.window.to) },
      forming: made.forming === undefined ? null : isoTime(made.forming),
    },
  };
}

/** Bars of at least one window, merged where these are more than fit. */
interface Decimated {
  columns: Columns;
  sources: number;
  stride: number;
  window: Days;
  /** The start of the last bar, if it is not over. */
  forming?: number | undefined;
}

/** Return at most `target` bars of the days asked for; loads more where buckets reach beyond them. */
async function decimated(
  bars: BarLoader,
  asked: Days,
  target: number,
  { finest, rthOnly }: { finest: number; rthOnly: boolean },
): Promise<Decimated> {
  const { source } = bars;
  const daily = source === DAILY;
  const shortest = Math.max(finest, source.minutes);
  const own = bars.columns;
  const regular = daily || areRegular(own.t);
  const clock: Clock = { minutes: source.minutes, finest, daily, extended: !(rthOnly && regular) };
  if (shortest === source.minutes && own.t.length <= target) {
    const rows = { first: 0, last: own.t.length };
    const over = own.t.length ? new Buckets(own, rows, clock).end(shortest) : 0;
    return { columns: own, sources: own.t.length, stride: shortest, window: asked, forming: forming(own, over) };
  }
  if (!own.t.length) return { columns: own, sources: 0, stride: shortest, window: asked };
  const latest = Math.max(asked.to, Math.floor(Date.now() / 1000 / DAY));
  const around = ({ from, to }: Days, by: number): Days => ({ from: from - by, to: Math.min(to + by, latest) });
  const neighbours = regular ? 0 : NEIGHBOURS;
  await bars.load(around(asked, neighbours));
  const first = new Buckets(bars.columns, bars.rows(asked), clock);
  const stride = first.finest(target);
  const [from, to] = first.dates(stride);
  const window = around({ from: Math.min(from, asked.from), to: Math.max(to, asked.to) }, neighbours);
  await bars.load(window);
  const buckets = new Buckets(bars.columns, bars.rows(asked), clock);
  const merged = buckets.merged(stride);
  return { ...merged, stride, window, forming: forming(merged.columns, buckets.end(stride)) };
}

function forming({ t }: Columns, over: number): number | undefined {
  return over > Date.now() / 1000 ? t.at(-1) : undefined;
}

/** The bars of a growing window. */
class BarLoader {
  columns: Columns = empty();
  rejected = 0;
  readonly source: Source;
  readonly #context: RequestContext;
  readonly #query: Record<string, string | boolean>;
  /** An hour that begins at 23:30 UTC would be cut short at the end of its date, so the next one is asked for too. */
  readonly #more: number;
  #loaded: Days | undefined;

  constructor(context: RequestContext, symbol: string, source: Source, rthOnly: boolean) {
    this.source = source;
    this.#context = context;
    this.#query = { symbol, ...(source !== DAILY && { rth_only: rthOnly }) };
    this.#more = source === HOURS ? 1 : 0;
  }

  /** Load what is missing of a window. */
  async load(window: Days): Promise<void> {
    const { from, to } = this.#loaded ?? { from: window.to + 1, to: window.to };
    const before = windows(window.from, Math.min(window.to, from - 1), this.source.days);
    const after = windows(Math.max(window.from, to + 1), window.to, this.source.days);
    const parts = await mapConcurrently([...before, ...after], MAX_CONCURRENT, (days) => this.#fetch(days));
    const own = { columns: this.columns, rejected: this.rejected };
    const all = concatBars([...parts.slice(0, before.length), own, ...parts.slice(before.length)]);
    this.columns = all.columns;
    this.rejected = all.rejected;
    this.#loaded = { from: Math.min(from, window.from), to: Math.max(to, window.to) };
  }

  /** Return the rows of a window's bars. */
  rows({ from, to }: Days): { first: number; last: number } {
    const row = (seconds: number) => lastIndexAtOrBefore(this.columns.t, seconds - 1) + 1;
    return { first: row(from * DAY), last: row((to + 1) * DAY) };
  }

  async #fetch({ from, to }: Days): Promise<SourceBars> {
    const query = { ...this.#query, from: date(from), to: date(to + this.#more) };
    return between(await fetchBars(this.#context, this.source.path, query), from * DAY, (to + 1) * DAY);
  }
}

/** Return how these bars' prices are shown, from 500 of them at most. */
function formatOf({ o, h, l, c }: Columns): PriceFormat {
  const every = Math.max(1, Math.floor(o.length / 500));
  return priceFormatOf([o, h, l, c].flatMap((prices) => prices.filter((_, row) => row % every === 0)));
}

/** Refuse what the BFF refuses; the backend would answer some of it with a 500. */
function validateQuery({ symbol, from, to, timeframe }: ChartQuery, target: number): void {
  const fields: Record<string, string> = {};
  if (!isSymbol(symbol.trim())) fields["symbol"] = "expected printable characters, 64 at most";
  if (!isDate(from)) fields["from_date"] = "expected a date YYYY-MM-DD";
  if (!isDate(to)) fields["to_date"] = "expected a date YYYY-MM-DD";
  else if (to < from) fields["to_date"] = "before from_date";
  if (!(timeframe in TIMEFRAMES)) fields["timeframe"] = `expected one of ${Object.keys(TIMEFRAMES).join(", ")}`;
  if (!(Number.isInteger(target) && target >= 100 && target <= 50_000)) {
    fields["target_points"] = "expected a whole number from 100 to 50000";
  }
  const wrong = Object.keys(fields);
  if (wrong.length)
    throw new BffError("VALIDATION", `invalid: ${wrong.join(", ")}`, { status: 422, details: { fields } });
}

function isDate(text: string): boolean {
  return DATE.test(text) && !Number.isNaN(Date.parse(text)) && date(days(text)) === text;
}

function days(text: string): number {
  return Date.parse(text) / (DAY * 1000);
}

function date(day: number): string {
  return new Date(day * DAY * 1000).toISOString().slice(0, 10);
}

/** Return a range of days in windows of at most so many. */
function windows(from: number, to: number, most: number): Days[] {
  const found = [];
  for (let day = from; day <= to; day += most) found.push({ from: day, to: Math.min(day + most - 1, to) });
  return found;
}

/** Return the bars with `start <= t < end`. */
function between({ columns, rejected }: SourceBars, start: number, end: number): SourceBars {
  const first = lastIndexAtOrBefore(columns.t, start - 1) + 1;
  const rows = [first, lastIndexAtOrBefore(columns.t, end - 1) + 1] as const;
  const cut = ohlc((name) => columns[name].slice(...rows));
  return { columns: { ...cut, v: columns.v.slice(...rows) }, rejected };
}

/** Return the columns that hold numbers alone. */
function ohlc(column: (name: "t" | "o" | "h" | "l" | "c") => number[]): Omit<Columns, "v"> {
  return { t: column("t"), o: column("o"), h: column("h"), l: column("l"), c: column("c") };
}

async function fetchBars(
  context: RequestContext,
  path: string,
  query: Record<string, string | boolean>,
): Promise<SourceBars> {
  let answer: unknown;
  try {
    answer = await context.get(path, query);
  } catch (error) {
    // The backend says 404 to an unknown symbol and to a window without bars alike.
    if (error instanceof BffError && error.status === 404) return { columns: empty(), rejected: 0 };
    throw error;
  }
  const rows = isObject(answer) ? answer["bars"] : undefined;
  if (!Array.isArray(rows)) throw new BffError("MALFORMED", "the answer holds no list of bars");
  return readBars(rows);
}

function empty(): Columns {
  return { ...ohlc(() => []), v: [] };
}

/**
 * Turn rows into columns in ascending order; what is no bar is left out, of equal times the last counts. Raises BffError
 * where there are rows and none is a bar.
 */
function readBars(rows: unknown[]): SourceBars {
  const read = readFields(rows);
  const good = read.filter(isUsable);
  if (rows.length && !good.length) {
    throw malformedResponse(`no bar has a usable ${absentFields(read) || "set of fields"}`);
  }
  let latest = Number.NEGATIVE_INFINITY;
  let late = 0;
  for (const { t } of good) {
    if (t < latest) late++;
    latest = Math.max(latest, t);
  }
  if (late) good.sort((a, b) => a.t - b.t);
  const kept = good.filter(({ t }, index) => good[index + 1]?.t !== t);
  const column = (name: "t" | "o" | "h" | "l" | "c") => kept.map((bar) => bar[name]);
  const columns = { ...ohlc(column), v: kept.map(({ v }) => v) };
  return { columns, rejected: rows.length - kept.length + late };
}

function concatBars(parts: SourceBars[]): SourceBars {
  return {
    columns: {
      ...ohlc((name) => parts.flatMap(({ columns }) => columns[name])),
      v: parts.flatMap(({ columns }) => columns.v),
    },
    rejected: parts.reduce((sum, { rejected }) => sum + rejected, 0),
  };
}

/** Return the error for a symbol without bars; it names the symbol in capitals where the backend has that one. */
async function unknownSymbol(context: RequestContext, symbol: string): Promise<BffError> {
  const capitals = symbol.toUpperCase();
  const hint =
    capitals !== symbol && (await fetchBars(context, "/bars/daily", { symbol: capitals })).columns.t.length > 0;
  const message = "the backend has no bars of this symbol";
  return new BffError("DATASET_NOT_FOUND", hint ? `${message}; did you mean ${capitals}?` : message, {
    status: 404,
    details: { symbol, known: null, ...(hint && { did_you_mean: capitals }) },
  });
}

/** A window without bars is an answer if it lies within what the backend has of the symbol; else that is the error. */
async function requireExtent(context: RequestContext, symbol: string, { from, to }: ChartQuery): Promise<void> {
  const { t } = (await fetchBars(context, "/bars/daily", { symbol })).columns;
  const [first, last] = [t[0], t.at(-1)];
  if (first === undefined || last === undefined) {
    throw await unknownSymbol(context, symbol);
  }
  const known = { from_date: date(Math.floor(first / DAY)), to_date: date(Math.floor(last / DAY)) };
  if (to < known.from_date || from > known.to_date) {
    const details = { symbol, known };
    throw new BffError("DATASET_NOT_FOUND", "the backend has no bars in this range", { status: 404, details });
  }
}
