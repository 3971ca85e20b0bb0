/** Candles that grow, and the equity beneath them; drawn by the caller's animation frames, never by React. */

import { DEFAULT_PRICE_FORMAT, priceFormatOf } from "bff-client/lib/price-format";
import {
  CandlestickSeries,
  createSeriesMarkers,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  LineSeries,
  type Time,
} from "lightweight-charts";
import type { Candle, CandleBook } from "../features/playback/candle-book.ts";
import { count } from "../lib/format.ts";
import { candleColours, libraryFormat, makeChart, recolour, utc } from "./base.ts";
import type { Palette } from "./palette.ts";

/** Bars whose orders are marked: as many as fit on a wide screen. */
const MARKED_BARS = 200;
const VISIBLE_BARS = 120;
const FORMAT_CANDLES = 256;
/** Candles from which on drawing all takes less time than updating those. */
const MANY = 50;

/** A candle as the library takes it: one without prices is a gap, which is a time alone. */
const candleOf = ({ time, o, h, l, c }: Candle) =>
  o === null || h === null || l === null || c === null
    ? { time: utc(time) }
    : { time: utc(time), open: o, high: h, low: l, close: c };

export class PlaybackChart {
  private readonly chart: IChartApi;
  private readonly candles: ISeriesApi<"Candlestick">;
  private readonly equity: ISeriesApi<"Line">;
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private palette: Palette;
  private marked = 0;
  /** Digits of the prices drawn. */
  digits = DEFAULT_PRICE_FORMAT.digits;
  /** Candles after which these are looked at again. */
  private formatAt = 0;

  constructor(container: HTMLElement) {
    const { chart, palette } = makeChart(container);
    this.chart = chart;
    this.palette = palette;
    this.candles = this.chart.addSeries(CandlestickSeries, candleColours(this.palette));
    this.markers = createSeriesMarkers(this.candles, []);
    this.equity = this.chart.addSeries(
      LineSeries,
      { color: this.palette.accent, lineWidth: 2, priceFormat: { type: "custom", formatter: count, minMove: 1 } },
      1,
    );
    this.chart.panes()[0]?.setStretchFactor(3);
    this.chart.panes()[1]?.setStretchFactor(1);
    // A bar after a gap moves the view on as any other does.
    this.chart.timeScale().applyOptions({ rightOffset: 6, allowShiftVisibleRangeOnWhitespaceReplacement: true });
  }

  /** Draw what changed in the book since the last time. */
  draw(book: CandleBook): void {
    const whole = book.rebuilt;
    const changed = book.changed();
    if (whole) this.formatAt = 0;
    this.setFormat(book.candles);
    if (whole || changed.length > MANY) this.drawAll(book.candles);
    else for (const candle of changed) this.update(candle);
    if (whole) this.showLast(book.candles.length);
    if (whole || changed.some((candle) => candle.buys + candle.sells > 0)) this.drawMarkers(book);
  }

  recolour(): void {
    this.palette = recolour(this.chart);
    this.candles.applyOptions(candleColours(this.palette));
    this.equity.applyOptions({ color: this.palette.accent });
  }

  dispose(): void {
    this.chart.remove();
  }

  /** Work out the digits of prices, each time that there are twice as many candles, up to some hundreds. */
  private setFormat(candles: readonly Candle[]): void {
    if (candles.length <= this.formatAt || this.formatAt >= FORMAT_CANDLES) return;
    this.formatAt = 2 * candles.length;
    const prices = candles
      .slice(-FORMAT_CANDLES)
      .flatMap(({ o, h, l, c }) => [o, h, l, c].filter((price) => price !== null));
    const format = priceFormatOf(prices);
    this.digits = format.digits;
    this.candles.applyOptions({ priceFormat: libraryFormat(format) });
  }

  private drawAll(candles: readonly Candle[]): void {
    this.candles.setData(candles.map(candleOf));
    const known = candles.filter((candle) => candle.equity !== undefined);
    this.equity.setData(known.map((candle) => ({ time: utc(candle.time), value: candle.equity ?? 0 })));
  }

  private showLast(count: number): void {
    this.chart.timeScale().setVisibleLogicalRange({ from: count - VISIBLE_BARS, to: count + 6 });
  }

  private update(candle: Candle): void {
    this.candles.update(candleOf(candle));
    if (candle.equity !== undefined) this.equity.update({ time: utc(candle.time), value: candle.equity });
  }

  private drawMarkers(book: CandleBook): void {
    const marks = book.candles.slice(-MARKED_BARS).flatMap((candle) => this.markersOf(candle));
    if (marks.length === 0 && this.marked === 0) return;
    this.marked = marks.length;
    this.markers.setMarkers(marks);
  }

  private markersOf({ time, buys, sells }: Candle) {
    const text = (orders: number) => (orders > 1 ? `×${orders}` : "");
    return [
      ...(buys
        ? [
            {
              time: utc(time),
              position: "belowBar" as const,
              shape: "arrowUp" as const,
              color: this.palette.up,
              size: 0.8,
              text: text(buys),
            },
          ]
        : []),
      ...(sells
        ? [
            {
              time: utc(time),
              position: "aboveBar" as const,
              shape: "arrowDown" as const,
              color: this.palette.down,
              size: 0.8,
              text: text(sells),
            },
          ]
        : []),
    ];
  }
}
