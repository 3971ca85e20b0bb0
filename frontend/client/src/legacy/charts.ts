/** Charts from the backend's `/bars/*`: one call a quarter, put in order and decimated in the browser. */

import { BffError, isObject } from "../errors.ts";
import type { RequestContext } from "../http/request-context.ts";
import { isSymbol } from "../lib/keys.ts";
import { type PriceFormat, priceFormatOf } from "../lib/price-format.ts";
import { lastIndexAtOrBefore } from "../lib/search.ts";
import { REGULAR_MINUTES } from "../lib/sessions.ts";
import { DAY } from "../lib/time.ts";
import type { Chart, ChartQuery, Columns, Timeframe } from "../types.ts";
import { absentFields, isUsable, readFields } from "./bar-fields.ts";
import { mapConcurrently } from "./concurrency.ts";
import { type Clock, resample } from "./resample.ts";
import { malformedResponse } from "./schema.ts";

/** The backend's bars: whose timeframe they are as they come, their minutes of trading, and the days of one call at most. */
const DAILY = { timeframe: "1D", path: "/bars/daily", minutes: REGULAR_MINUTES, days: 3660 } as const;
const HOURS = { timeframe: "1H", path: "/bars/hour", minutes: 60, days: 366 } as const;
const MINUTES = { timeframe: "1M", path: "/bars/minute", minutes: 1, days: 92 } as const;

/** Every timeframe: the minutes of trading of its bars, and the bars that it is made from. */
const TIMEFRAMES: Record<Timeframe, { minutes: number; source: typeof DAILY | typeof HOURS | typeof MINUTES }> = {
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

export async function getChart(context: RequestContext, query: ChartQuery): Promise<Chart> {
  const since = performance.now();
  const { timeframe, targetPoints = 10_000, rthOnly = true } = query;
  const symbol = query.symbol.trim();
  validateQuery(query, targetPoints);
  const { minutes: finest, source } = TIMEFRAMES[timeframe];
  const daily = source === DAILY;
  // An hour that begins at 23:30 UTC would be cut short at the end of its date, so the next one is asked for too.
  const more = source === HOURS && !rthOnly ? 1 : 0;
  const parts = await mapConcurrently(
    windows(query.from, query.to, source.days),
    MAX_CONCURRENT,
    async ({ from, to }) => {
      const range = { from: date(from), to: date(to + more), ...(!daily && { rth_only: rthOnly }) };
      return between(await fetchBars(context, source.path, { symbol, ...range }), from * DAY, (to + 1) * DAY);
    },
  );
  const { columns, rejected } = concatBars(parts);
  if (!columns.t.length) await requireExtent(context, symbol, query);
  const clock: Clock = { minutes: source.minutes, finest, daily, extended: !rthOnly };
  const made = resample(columns, targetPoints, clock);
  return {
    symbol,
    timeframe,
    from_date: query.from,
    to_date: query.to,
    columns: made.columns,
    metadata: {
      total_bars: made.columns.t.length,
      source_bars: columns.t.length,
      source_timeframe: source.timeframe,
      decimated: made.decimated,
      decimation_stride: made.stride,
      rejected_bars: rejected,
      cache_hit: false,
      stale: false,
      load_time_ms: performance.now() - since,
      backend_calls: context.requests,
      data_source: "backend",
      price_format: formatOf(made.columns),
    },
  };
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

/** Return a range of dates, both included, in windows of at most so many days since the epoch. */
function windows(from: string, to: string, most: number): { from: number; to: number }[] {
  const found = [];
  for (let day = days(from); day <= days(to); day += most) {
    found.push({ from: day, to: Math.min(day + most - 1, days(to)) });
  }
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
