/** The candles before a place in a run, from the chart route. */

import type { Client } from "bff-client";
import { REGULAR_MINUTES } from "bff-client/lib/sessions";
import { DAY } from "bff-client/lib/time";
import { withSessionTimes } from "../../charts/session-times.ts";
import { utcDay } from "../../lib/time.ts";
import { timeframeForBars } from "../../lib/timeframes.ts";
import type { Ohlcv } from "./candle-book.ts";

/** Days of bars before the place, by minutes per bar: more than fit on the screen. */
const HISTORY_DAYS: Record<number, number> = { 1: 4, 5: 7, 15: 14, 60: 60, [REGULAR_MINUTES]: 400 };
const MAX_BARS = 20_000;

export interface HistoryQuery {
  symbol: string;
  /** Where the run begins, UTC seconds. */
  from: number;
  at: number;
  minutes: number;
}

/** Return the bars up to a place, of which bars of so many minutes can be put together. Rejects with a BffError. */
export async function fetchHistory(
  client: Client,
  { symbol, from, at, minutes }: HistoryQuery,
  signal: AbortSignal,
): Promise<(Ohlcv & { time: number })[]> {
  const first = Math.max(from, at - (HISTORY_DAYS[minutes] ?? 30) * DAY);
  const days = { from: utcDay(first), to: utcDay(at) };
  const query = { symbol, timeframe: timeframeForBars(minutes), ...days, targetPoints: MAX_BARS };
  const { columns } = withSessionTimes(await client.getChart(query, { signal }));
  const { t, o, h, l, c, v } = columns;
  return t.map((time, index) => ({
    time,
    o: o[index] ?? 0,
    h: h[index] ?? 0,
    l: l[index] ?? 0,
    c: c[index] ?? 0,
    v: v[index] ?? 0,
  }));
}
