import type { CompleteRun, RunMetrics } from "bff-client";
import type { ReactNode } from "react";
import { compact, count, percent, price, ratio, tone } from "../../lib/format.ts";

type Maybe = number | null | undefined;

const KNOWN: readonly [keyof RunMetrics & string, string, (value: Maybe) => string][] = [
  ["total_return", "Total return", (value) => percent(value, true)],
  ["cagr", "CAGR", (value) => percent(value, true)],
  ["max_drawdown", "Max drawdown", (value) => percent(value)],
  ["sharpe_ratio", "Sharpe ratio", ratio],
  ["sortino_ratio", "Sortino ratio", ratio],
  ["win_rate", "Win rate", (value) => percent(value)],
  ["total_trades", "Trades", count],
  ["avg_win", "Average win", price],
  ["avg_loss", "Average loss", price],
  ["turnover", "Turnover", compact],
  ["fees_paid", "Fees paid", price],
];
const SIGNED = new Set(["total_return", "cagr", "avg_win", "avg_loss"]);

export function MetricsPanel({ data, mark }: { data: CompleteRun; mark: ReactNode }) {
  const { metrics } = data;
  const computed = new Set(data.metadata.computed);
  const shown = KNOWN.filter(([key]) => metrics && typeof metrics[key] === "number");
  return (
    <section className="card metrics" aria-labelledby="metrics">
      <header>
        <h2 id="metrics">Figures</h2>
        {mark}
      </header>
      {metrics ? (
        <dl>
          {shown.map(([key, label, format]) => (
            <div key={key} title={computed.has(key) ? "computed from equity and orders" : undefined}>
              <dt>
                {label}
                {computed.has(key) && <span aria-hidden="true"> *</span>}
              </dt>
              <dd className={SIGNED.has(key) ? tone(metrics[key] as number) : undefined}>
                {format(metrics[key] as number)}
              </dd>
            </div>
          ))}
        </dl>
      ) : (
        <p className="note">There are no figures.</p>
      )}
      {computed.size > 0 && <p className="note small">* computed from equity and orders</p>}
    </section>
  );
}
