/** The metrics of a run that the page shows: how each is called and written, and which of them the list has. Pure. */

import { compact, count, percent, price, ratio } from "./format.ts";

type Maybe = number | null | undefined;

export interface Metric {
  label: string;
  format: (value: Maybe) => string;
  /** Gains and losses have different colours. */
  signed?: true;
}

const signedPercent = (value: Maybe) => percent(value, true);
const share = (value: Maybe) => percent(value);

/** In the order of a run's page. */
export const METRICS = {
  total_return: { label: "Total return", format: signedPercent, signed: true },
  cagr: { label: "CAGR", format: signedPercent, signed: true },
  max_drawdown: { label: "Max drawdown", format: share },
  sharpe_ratio: { label: "Sharpe ratio", format: ratio },
  sortino_ratio: { label: "Sortino ratio", format: ratio },
  win_rate: { label: "Win rate", format: share },
  total_trades: { label: "Trades", format: count },
  avg_win: { label: "Average win", format: price, signed: true },
  avg_loss: { label: "Average loss", format: price, signed: true },
  turnover: { label: "Turnover", format: compact },
  fees_paid: { label: "Fees paid", format: price },
} as const satisfies Record<string, Metric>;

export type MetricKey = keyof typeof METRICS;
export const METRIC_KEYS = Object.keys(METRICS) as MetricKey[];

/** The columns of the list of runs, in their order; `short` is their label on a narrow screen. */
export const LISTED_METRICS = [
  { key: "total_return", label: "Return" },
  { key: "sharpe_ratio", label: "Sharpe" },
  { key: "max_drawdown", label: "Max drawdown", short: "Drawdown" },
  { key: "win_rate", label: "Win rate" },
] as const satisfies readonly { key: MetricKey; label: string; short?: string }[];

export type ListedMetricKey = (typeof LISTED_METRICS)[number]["key"];

export const isListedMetric = (key: string): key is ListedMetricKey =>
  LISTED_METRICS.some((column) => column.key === key);
