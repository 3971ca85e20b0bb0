/** Charts that draw nothing, and remember what they were given. */

import type { Columns } from "bff-client";
import type { EquityPoint } from "../../src/charts/equity-points.ts";

class Chart {
  recolour(): void {}
  dispose(): void {}
}

export class PriceChart extends Chart {
  static shown: Columns | undefined;

  setBars(columns: Columns): void {
    PriceChart.shown = columns;
  }
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
  draw(): void {}
}
