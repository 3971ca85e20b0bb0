/** Candles, volume and orders of a window that is loaded anew while the view stays where it is. */

import {
  CandlestickSeries,
  createSeriesMarkers,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type LogicalRange,
  type MouseEventParams,
  type Time,
} from "lightweight-charts";
import { marksOf, type TimedOrder } from "../marks.ts";
import type { Span } from "../windows.ts";
import { candleColours, makeChart, recolour, utc } from "./base.ts";
import type { Palette } from "./palette.ts";
import { indexAt, timeAt } from "./scale.ts";

export interface Columns {
  t: number[];
  o: number[];
  h: number[];
  l: number[];
  c: number[];
  v: number[];
}

export interface Bar {
  time: number;
  o: number;
  h: number;
  l: number;
  c: number;
  v: number;
}

export interface PriceChartEvents {
  /** The visible span is another one; called for every step of a movement. */
  range: (span: Span) => void;
  /** The bar under the crosshair, else the last one. */
  bar: (bar: Bar | undefined) => void;
  /** So many orders are marked now; none where they would be too many to tell apart. */
  marks: (marks: number) => void;
}

const EMPTY: Columns = { t: [], o: [], h: [], l: [], c: [], v: [] };

export class PriceChart {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private readonly events: PriceChartEvents;
  private palette: Palette;
  private columns = EMPTY;
  private orders: readonly TimedOrder[] = [];

  constructor(container: HTMLElement, events: PriceChartEvents) {
    this.events = events;
    this.chart = makeChart(container);
    this.palette = recolour(this.chart);
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.candles = this.chart.addSeries(CandlestickSeries, { ...candleColours(this.palette), priceLineVisible: false });
    this.candles.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.22 } });
    this.markers = createSeriesMarkers(this.candles, []);
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(this.moved);
    this.chart.subscribeCrosshairMove(this.pointed);
  }

  /** Show other bars; what is visible stays visible, unless `span` says what should be. */
  setBars(columns: Columns, span?: Span): void {
    const kept = span ?? this.visible();
    this.columns = columns;
    this.fill();
    if (kept) this.show(kept);
    else this.chart.timeScale().fitContent();
    this.events.bar(this.barAt(columns.t.length - 1));
  }

  setOrders(orders: readonly TimedOrder[]): void {
    this.orders = orders;
    this.mark();
  }

  /** Make a span visible; parts without bars are left empty. */
  show(span: Span): void {
    const from = indexAt(this.columns.t, span.from);
    const to = indexAt(this.columns.t, span.to);
    if (from !== undefined && to !== undefined)
      this.chart.timeScale().setVisibleLogicalRange({ from, to: Math.max(to, from + 2) });
  }

  visible(): Span | undefined {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    return range ? this.spanOf(range) : undefined;
  }

  /** Put the marks where the visible part of the orders is. */
  mark(): void {
    this.events.marks(this.drawMarks());
  }

  private drawMarks(): number {
    const seen = this.visible();
    const marks = seen ? marksOf(this.orders, this.columns.t, seen.from, seen.to) : [];
    this.markers.setMarkers(
      marks.map((mark) => ({
        time: utc(mark.time),
        position: mark.buy ? "belowBar" : "aboveBar",
        shape: mark.buy ? "arrowUp" : "arrowDown",
        color: mark.buy ? this.palette.up : this.palette.down,
        text: mark.text,
        size: mark.text ? 1 : 0.6,
      })),
    );
    return marks.length;
  }

  recolour(): void {
    this.palette = recolour(this.chart);
    this.candles.applyOptions(candleColours(this.palette));
    const seen = this.visible();
    this.fill();
    if (seen) this.show(seen);
    this.mark();
  }

  dispose(): void {
    this.chart.remove();
  }

  private fill(): void {
    const { t, o, h, l, c, v } = this.columns;
    const candles = new Array(t.length);
    const volumes = new Array(t.length);
    for (let index = 0; index < t.length; index += 1) {
      const time = t[index];
      const rising = (c[index] ?? 0) >= (o[index] ?? 0);
      candles[index] = { time, open: o[index], high: h[index], low: l[index], close: c[index] };
      volumes[index] = { time, value: v[index], color: rising ? this.palette.upSoft : this.palette.downSoft };
    }
    this.candles.setData(candles);
    this.volume.setData(volumes);
  }

  private spanOf(range: LogicalRange): Span | undefined {
    const from = timeAt(this.columns.t, range.from);
    const to = timeAt(this.columns.t, range.to);
    return from === undefined || to === undefined ? undefined : { from: Math.round(from), to: Math.round(to) };
  }

  private readonly moved = (range: LogicalRange | null): void => {
    const span = range && this.spanOf(range);
    if (span) this.events.range(span);
  };

  private readonly pointed = (event: MouseEventParams): void => {
    const last = this.columns.t.length - 1;
    this.events.bar(this.barAt(event.logical === undefined ? last : Math.min(last, Math.max(0, event.logical))));
  };

  private barAt(index: number): Bar | undefined {
    const { t, o, h, l, c, v } = this.columns;
    const time = t[index];
    if (time === undefined) return undefined;
    return { time, o: o[index] ?? 0, h: h[index] ?? 0, l: l[index] ?? 0, c: c[index] ?? 0, v: v[index] ?? 0 };
  }
}
