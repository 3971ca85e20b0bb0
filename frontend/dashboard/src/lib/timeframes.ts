/** The sizes of bars that a chart can be asked for: how each is called here, in an address and by the API. Pure. */

import type { Timeframe } from "bff-client";
import { REGULAR_MINUTES } from "bff-client/lib/sessions";

interface TimeframeChoice {
  /** What the API calls it. */
  value: Timeframe;
  /** What an address calls it; `1M` would be a minute here and a month among the ranges. */
  address: string;
  label: string;
  words: string;
  /** Minutes of trading of a bar; a daily bar has those of a regular session. */
  minutes: number;
  /** It suits spans of up to so many days: about a hundred bars or more, and few enough to tell them apart. */
  mostDays: number;
}

/** From fine to coarse. */
export const TIMEFRAMES: readonly TimeframeChoice[] = [
  { value: "1M", address: "1min", label: "1 min", words: "minutes", minutes: 1, mostDays: 3 },
  { value: "5M", address: "5min", label: "5 min", words: "five minutes", minutes: 5, mostDays: 14 },
  { value: "1H", address: "1h", label: "1 h", words: "hours", minutes: 60, mostDays: 120 },
  {
    value: "1D",
    address: "1d",
    label: "1 day",
    words: "days",
    minutes: REGULAR_MINUTES,
    mostDays: Number.POSITIVE_INFINITY,
  },
];

export const DEFAULT_TIMEFRAME: Timeframe = "1D";

/** Read a timeframe from an address, where older addresses have the API's names; the default for anything else. */
export function parseTimeframe(text: string | null): Timeframe {
  return TIMEFRAMES.find(({ address, value }) => address === text || value === text)?.value ?? DEFAULT_TIMEFRAME;
}

/** Return what an address calls a timeframe. */
export function formatTimeframe(timeframe: Timeframe): string {
  return TIMEFRAMES.find(({ value }) => value === timeframe)?.address ?? timeframe;
}

/** Return the timeframe that suits a span of so many days. */
export function timeframeForDays(days: number): Timeframe {
  return TIMEFRAMES.find(({ mostDays }) => days <= mostDays)?.value ?? DEFAULT_TIMEFRAME;
}

/** Return the coarsest timeframe that bars of so many minutes can be put together from. */
export function timeframeForBars(minutes: number): Timeframe {
  return TIMEFRAMES.findLast((timeframe) => minutes % timeframe.minutes === 0)?.value ?? DEFAULT_TIMEFRAME;
}

/** Return the words for bars of so many minutes of trading. */
export function barSizeInWords(minutes: number): string {
  const sessions = minutes / REGULAR_MINUTES;
  if (Number.isInteger(sessions)) return sessions === 1 ? "1 session" : `${sessions} sessions`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${minutes} min`;
}
