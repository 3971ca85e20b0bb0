/** The equity curve as a chart takes it: ascending, unique, finite. Pure. */

import { parseTime } from "bff-client/lib/time";

export interface EquityPoint {
  time: number;
  value: number;
  /** 0 or below: how far under the highest value so far, as a share. */
  drawdown: number;
}

interface Row {
  ts: string;
  value: number | null;
  drawdown?: number | null | undefined;
}

export function equityPoints(rows: readonly Row[] | null | undefined): EquityPoint[] {
  const points: EquityPoint[] = [];
  let peak = Number.NEGATIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  for (const row of rows ?? []) {
    const time = parseTime(row.ts);
    if (time === undefined || time <= last || row.value === null || !Number.isFinite(row.value)) continue;
    peak = Math.max(peak, row.value);
    const drawdown = row.drawdown ?? (peak > 0 ? (peak - row.value) / peak : 0);
    points.push({ time, value: row.value, drawdown: -Math.abs(drawdown) });
    last = time;
  }
  return points;
}
