import type { CompleteRun } from "bff-client";
import type { ReactNode } from "react";
import { tone } from "../../lib/format.ts";
import { METRIC_KEYS, METRICS, type Metric } from "../../lib/metrics.ts";

export function MetricsPanel({ data, mark }: { data: CompleteRun; mark: ReactNode }) {
  const { metrics } = data;
  const computed = new Set(data.metadata.computed);
  const shown = METRIC_KEYS.filter((key) => metrics && typeof metrics[key] === "number");
  return (
    <section className="card metrics" aria-labelledby="metrics">
      <header>
        <h2 id="metrics">Performance metrics</h2>
        {mark}
      </header>
      {metrics ? (
        <dl>
          {shown.map((key) => {
            const { label, format, signed }: Metric = METRICS[key];
            const value = metrics[key] as number;
            return (
              <div key={key} title={computed.has(key) ? "computed from equity and orders" : undefined}>
                <dt>
                  {label}
                  {computed.has(key) && <span aria-hidden="true"> *</span>}
                </dt>
                <dd className={signed && tone(value)}>{format(value)}</dd>
              </div>
            );
          })}
        </dl>
      ) : (
        <p className="note">There are no metrics.</p>
      )}
      {computed.size > 0 && <p className="note small">* computed from equity and orders</p>}
    </section>
  );
}
