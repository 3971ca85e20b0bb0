import type { CompleteRun } from "bff-client";
import { type ReactNode, useEffect, useMemo, useRef } from "react";
import { EquityChart } from "../../charts/equity-chart.ts";
import { equityPoints } from "../../charts/equity-points.ts";
import { count, money, percent } from "../../lib/format.ts";
import { onTheme } from "../../lib/theme.ts";
import { newYork } from "../../lib/time.ts";

export function EquityPanel({ data, mark }: { data: CompleteRun; mark: ReactNode }) {
  const points = useMemo(() => equityPoints(data.equity), [data.equity]);
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<EquityChart>(undefined);
  const some = points.length > 0;
  useEffect(() => {
    if (!some || !box.current) return;
    const made = new EquityChart(box.current);
    chart.current = made;
    const stop = onTheme(() => made.recolour());
    return () => {
      stop();
      made.dispose();
      chart.current = undefined;
    };
  }, [some]);
  useEffect(() => {
    if (!chart.current) return;
    chart.current.setPoints(points);
    performance.mark("equity-drawn");
  }, [points]);
  const last = points.at(-1);
  const worst = points.reduce((low, point) => Math.min(low, point.drawdown), 0);
  const words = last
    ? `Equity ends at ${money(last.value)} on ${newYork(last.time, "date")}, deepest drawdown ${percent(-worst)}`
    : "";
  return (
    <section className="card equity" aria-labelledby="equity">
      <header>
        <h2 id="equity">Equity and drawdown</h2>
        {last && (
          <span className="muted">
            {money(last.value)} · {count(points.length)} of {count(data.metadata.equity_source_points)} points
          </span>
        )}
        {mark}
      </header>
      {some ? (
        <div role="img" aria-label={words} className="chart-frame">
          <div ref={box} className="chart" aria-hidden="true" data-drawn={some} />
        </div>
      ) : (
        <p className="note">There is no equity curve.</p>
      )}
    </section>
  );
}
