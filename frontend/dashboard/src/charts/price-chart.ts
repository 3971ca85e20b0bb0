/** Candles, volume and orders; bars are replaced while the view stays where it is. */

import { DEFAULT_PRICE_FORMAT, type PriceFormat } from "bff-client/lib/price-format";
import { lastIndexAtOrBefore } from "bff-client/lib/search";
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
import { barSeries } from "./bar-series.ts";
import { candleColours, libraryFormat, makeChart, recolour, utc } from "./base.ts";
import type { Beyond, Span } from "./chart-window.ts";
import { orderMarkers, type TimedOrder } from "./order-markers.ts";
import type { Palette } from "./palette.ts";
import { indexAt, timeAt } from "./scale.ts";

export interface Columns {
  t: number[];
  o: number[];
  h: number[];
  l: number[];
  c: number[];
  /** Null where there is none. */
  v: (number | null)[];
}

export interface Bar {
  time: number;
  o: number;
  h: number;
  l: number;
  c: number;
  v: number | null;
}

export interface PriceChartEvents {
  /** The visible span is another one; called for every step of a movement. `beyond` says where no bars are. */
  range: (span: Span, beyond: Beyond) => void;
  /** The bar under the crosshair, else the last one. */
  bar: (bar: Bar | undefined) => void;
  /** So many orders are marked now; none where they would be too many to tell apart. */
  marks: (marks: number) => void;
}

/** Bars without which an edge of the view does not yet count as empty. */
const EMPTY_EDGE_BARS = 3;
const EMPTY: Columns = { t: [], o: [], h: [], l: [], c: [], v: [] };

export class PriceChart {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private readonly events: PriceChartEvents;
  private palette: Palette;
  private columns = EMPTY;
  private stride = 0;
  private have: Span = { from: 0, to: 0 };
  private orders: readonly TimedOrder[] = [];
  private format = DEFAULT_PRICE_FORMAT;

  constructor(container: HTMLElement, events: PriceChartEvents) {
    this.events = events;
    const { chart, palette } = makeChart(container);
    this.chart = chart;
    this.palette = palette;
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
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(this.onRange);
    this.chart.subscribeCrosshairMove(this.onCrosshair);
  }

  /**
   * Show other bars, of so many minutes each, which are all that there are of the span `have`. What is visible stays where it is, unless `span` says what should be: bars
   * of the same size stay on their very pixels, others keep their times.
   */
  setBars(columns: Columns, stride: number, have: Span, span?: Span): void {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    const shift = span || stride !== this.stride ? undefined : this.shiftTo(columns, range);
    const kept = span ?? this.visible();
    this.columns = columns;
    this.stride = stride;
    this.have = have;
    this.fill();
    if (range && shift !== undefined) {
      this.chart.timeScale().setVisibleLogicalRange({ from: range.from + shift, to: range.to + shift });
    } else if (kept) this.show(kept);
    else this.chart.timeScale().fitContent();
    this.events.bar(this.barAt(columns.t.length - 1));
  }

  /** Show prices with so many digits, in steps of so much. */
  setFormat(format: PriceFormat): void {
    this.format = format;
    this.candles.applyOptions({ priceFormat: libraryFormat(format) });
  }

  setOrders(orders: readonly TimedOrder[]): void {
    this.orders = orders;
    this.drawMarkers();
  }

  /** Make a span visible. Parts whose bars are not loaded are left empty; a closed market takes no room. */
  show(span: Span): void {
    const { t } = this.columns;
    const from = indexAt(t, span.from);
    const to = indexAt(t, span.to);
    if (from === undefined || to === undefined) return;
    const first = span.from < this.have.from ? from : Math.max(-0.5, from);
    const last = span.to > this.have.to ? to : Math.min(t.length - 0.5, to);
    this.chart.timeScale().setVisibleLogicalRange({ from: first, to: Math.max(last, first + 2) });
  }

  visible(): Span | undefined {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    return range ? this.spanOf(range) : undefined;
  }

  /** Put the marks where the visible part of the orders is. */
  drawMarkers(): void {
    this.events.marks(this.updateMarkers());
  }

  private updateMarkers(): number {
    const seen = this.visible();
    const marks = seen ? orderMarkers(this.orders, this.columns.t, seen.from, seen.to, this.format.digits) : [];
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
    this.drawMarkers();
  }

  dispose(): void {
    this.chart.remove();
  }

  private fill(): void {
    const { candles, volumes } = barSeries(this.columns, this.palette.upSoft, this.palette.downSoft);
    this.candles.setData(candles);
    this.volume.setData(volumes);
  }

  private spanOf(range: LogicalRange): Span | undefined {
    const from = timeAt(this.columns.t, range.from);
    const to = timeAt(this.columns.t, range.to);
    return from === undefined || to === undefined ? undefined : { from: Math.round(from), to: Math.round(to) };
  }

  /** Return by how much a bar that stays has another index among other bars; undefined if none stays. */
  private shiftTo(columns: Columns, range: LogicalRange | null): number | undefined {
    if (!range || this.columns.t.length === 0) return undefined;
    const middle = Math.round((range.from + range.to) / 2);
    const index = Math.min(this.columns.t.length - 1, Math.max(0, middle));
    const time = this.columns.t[index] ?? Number.NaN;
    const found = lastIndexAtOrBefore(columns.t, time);
    return columns.t[found] === time ? found - index : undefined;
  }

  private readonly onRange = (range: LogicalRange | null): void => {
    const span = range && this.spanOf(range);
    const beyond = {
      left: Boolean(range && range.from < -EMPTY_EDGE_BARS),
      right: Boolean(range && range.to > this.columns.t.length + EMPTY_EDGE_BARS),
    };
    if (span) this.events.range(span, beyond);
  };

  private readonly onCrosshair = (event: MouseEventParams): void => {
    const last = this.columns.t.length - 1;
    this.events.bar(this.barAt(event.logical === undefined ? last : Math.min(last, Math.max(0, event.logical))));
  };

  private barAt(index: number): Bar | undefined {
    const { t, o, h, l, c, v } = this.columns;
    const time = t[index];
    if (time === undefined) return undefined;
    return { time, o: o[index] ?? 0, h: h[index] ?? 0, l: l[index] ?? 0, c: c[index] ?? 0, v: v[index] ?? null };
  }
}
