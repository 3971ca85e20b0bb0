/** The equity curve with its drawdown below. */

import { AreaSeries, BaselineSeries, type IChartApi, type ISeriesApi } from "lightweight-charts";
import { count, percent } from "../lib/format.ts";
import { makeChart, recolour, utc } from "./base.ts";
import type { EquityPoint } from "./equity-points.ts";
import type { Palette } from "./palette.ts";

const equityColours = (palette: Palette) => ({
  lineColor: palette.accent,
  topColor: palette.accentSoft,
  bottomColor: palette.accentNone,
});

const drawdownColours = (palette: Palette) => ({
  topLineColor: palette.down,
  topFillColor1: "transparent",
  topFillColor2: "transparent",
  bottomLineColor: palette.down,
  bottomFillColor1: palette.downSoft,
  bottomFillColor2: palette.downSoft,
});

export class EquityChart {
  private readonly chart: IChartApi;
  private readonly equity: ISeriesApi<"Area">;
  private readonly drawdown: ISeriesApi<"Baseline">;

  constructor(container: HTMLElement) {
    const { chart, palette } = makeChart(container);
    this.chart = chart;
    this.equity = this.chart.addSeries(AreaSeries, {
      ...equityColours(palette),
      lineWidth: 2,
      priceLineVisible: false,
      priceFormat: { type: "custom", formatter: count, minMove: 1 },
    });
    this.drawdown = this.chart.addSeries(
      BaselineSeries,
      {
        ...drawdownColours(palette),
        baseValue: { type: "price", price: 0 },
        lineWidth: 1,
        priceLineVisible: false,
        priceFormat: { type: "custom", formatter: (value: number) => percent(value), minMove: 0.0001 },
      },
      1,
    );
    this.chart.panes()[0]?.setStretchFactor(3);
    this.chart.panes()[1]?.setStretchFactor(1);
  }

  setPoints(points: readonly EquityPoint[]): void {
    this.equity.setData(points.map(({ time, value }) => ({ time: utc(time), value })));
    this.drawdown.setData(points.map(({ time, drawdown }) => ({ time: utc(time), value: drawdown })));
    this.chart.timeScale().fitContent();
  }

  recolour(): void {
    const palette = recolour(this.chart);
    this.equity.applyOptions(equityColours(palette));
    this.drawdown.applyOptions(drawdownColours(palette));
  }

  dispose(): void {
    this.chart.remove();
  }
}
