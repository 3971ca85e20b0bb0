/** Bars as the chart library takes them: it throws on null, and takes a time alone for a gap. Pure. */

import type { CandlestickData, HistogramData, UTCTimestamp, WhitespaceData } from "lightweight-charts";
import type { Columns } from "./price-chart.ts";

export interface BarSeries {
  candles: CandlestickData[];
  volumes: (HistogramData | WhitespaceData)[];
}

/** Return candles and volumes; `rising` and `falling` are the colours of a volume. */
export function barSeries({ t, o, h, l, c, v }: Columns, rising: string, falling: string): BarSeries {
  const candles: BarSeries["candles"] = new Array(t.length);
  const volumes: BarSeries["volumes"] = new Array(t.length);
  for (let index = 0; index < t.length; index += 1) {
    const time = t[index] as UTCTimestamp;
    const [open, close] = [o[index] as number, c[index] as number];
    const value = v[index];
    candles[index] = { time, open, high: h[index] as number, low: l[index] as number, close };
    volumes[index] = value == null ? { time } : { time, value, color: close >= open ? rising : falling };
  }
  return { candles, volumes };
}
