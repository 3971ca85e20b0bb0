/** What all charts of the page have in common: colours, New York's clock, size. */

import type { PriceFormat } from "bff-client/lib/price-format";
import {
  ColorType,
  CrosshairMode,
  createChart,
  type IChartApi,
  TickMarkType,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import { newYork, type TimeStyle } from "../lib/time.ts";
import { type Palette, readPalette } from "./palette.ts";

/** Return a price format as the chart library takes it. */
export const libraryFormat = ({ digits, min_move: minMove }: PriceFormat) =>
  ({ type: "price", precision: digits, minMove }) as const;

export const utc = (seconds: number) => seconds as UTCTimestamp;
export const secondsOf = (time: Time) => Number(time);

const TICKS: Record<TickMarkType, TimeStyle> = {
  [TickMarkType.Year]: "year",
  [TickMarkType.Month]: "month",
  [TickMarkType.DayOfMonth]: "day",
  [TickMarkType.Time]: "time",
  [TickMarkType.TimeWithSeconds]: "time",
};

function coloured(palette: Palette) {
  return {
    layout: {
      background: { type: ColorType.Solid, color: palette.ground },
      textColor: palette.muted,
      panes: { separatorColor: palette.line, separatorHoverColor: palette.line },
    },
    grid: { vertLines: { color: palette.grid }, horzLines: { color: palette.grid } },
    rightPriceScale: { borderColor: palette.line },
    timeScale: { borderColor: palette.line },
    crosshair: {
      vertLine: { color: palette.muted, labelBackgroundColor: palette.accent },
      horzLine: { color: palette.muted, labelBackgroundColor: palette.accent },
    },
  };
}

/** Make a chart that fills its container and follows the container's size, in the page's present colours. */
export function makeChart(container: HTMLElement): { chart: IChartApi; palette: Palette } {
  const palette = readPalette();
  const colours = coloured(palette);
  const fontFamily = getComputedStyle(document.body).fontFamily;
  const chart = createChart(container, {
    ...colours,
    autoSize: true,
    layout: { ...colours.layout, fontFamily, fontSize: 11, attributionLogo: false },
    crosshair: { ...colours.crosshair, mode: CrosshairMode.Normal },
    rightPriceScale: { ...colours.rightPriceScale, minimumWidth: 64 },
    timeScale: {
      ...colours.timeScale,
      timeVisible: true,
      secondsVisible: false,
      minBarSpacing: 0.1,
      rightOffset: 2,
      lockVisibleTimeRangeOnResize: true,
      tickMarkFormatter: (time: Time, type: TickMarkType) => newYork(secondsOf(time), TICKS[type]),
    },
    localization: { timeFormatter: (time: Time) => `${newYork(secondsOf(time), "minute")} ET` },
    // A page that is scrolled with one finger must not end at a chart.
    handleScroll: { vertTouchDrag: false },
  });
  return { chart, palette };
}

/** Give a chart the page's present colours. */
export function recolour(chart: IChartApi): Palette {
  const palette = readPalette();
  chart.applyOptions(coloured(palette));
  return palette;
}

export const candleColours = (palette: Palette) => ({
  upColor: palette.up,
  downColor: palette.down,
  wickUpColor: palette.up,
  wickDownColor: palette.down,
  borderVisible: false,
});
