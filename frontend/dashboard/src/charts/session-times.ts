/** Bars as charts of New York's day take them. Pure. */

import type { Chart } from "bff-client";
import { sessionOpen } from "bff-client/lib/sessions";

/** Within every session's date in New York and UTC alike. */
const NOON = 15 * 3600;

/**
 * Return a chart whose daily bars stand at their sessions' openings: they are stamped at midnight UTC, which is the evening
 * before in New York. Only what a chart says of itself tells; an instrument that trades at night has minutes and hours with
 * such stamps too.
 */
export function withSessionTimes(chart: Chart): Chart {
  if (chart.metadata.source_timeframe !== "1D") return chart;
  return { ...chart, columns: { ...chart.columns, t: chart.columns.t.map((seconds) => sessionOpen(seconds + NOON)) } };
}
