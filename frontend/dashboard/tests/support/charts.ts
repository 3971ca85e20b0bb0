/** Charts that draw nothing, and remember what they were given. */

import type { Columns } from "bff-client";
import type { EquityPoint } from "../../src/charts/equity-points.ts";
import type { CandleBook } from "../../src/features/playback/candle-book.ts";

class Chart {
  recolour(): void {}
  dispose(): void {}
}

export class PriceChart extends Chart {
  static shown: Columns | undefined;

  setBars(columns: Columns): void {
    PriceChart.shown = columns;
  }
  setFormat(): void {}
  setOrders(): void {}
  drawMarkers(): void {}
  show(): void {}
}

export class EquityChart extends Chart {
  static shown: readonly EquityPoint[] = [];

  setPoints(points: readonly EquityPoint[]): void {
    EquityChart.shown = points;
  }
}

export class PlaybackChart extends Chart {
  static drawn: CandleBook | undefined;

  draw(book: CandleBook): void {
    PlaybackChart.drawn = book;
  }
}
