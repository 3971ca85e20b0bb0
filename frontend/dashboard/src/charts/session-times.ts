/** Bars as charts of New York's day take them. Pure. */

import type { Chart } from "bff-client";
import { sessionOpen } from "bff-client/lib/sessions";
import { DAY } from "bff-client/lib/time";

/** Within every session's date in New York and UTC alike. */
const NOON = 15 * 3600;

/** Return the time that a bar is drawn at: daily bars are stamped at midnight UTC, which is the evening before in New York. */
export const barTime = (seconds: number) => (seconds % DAY === 0 ? sessionOpen(seconds + NOON) : seconds);

/** Return a chart whose daily bars stand at their sessions' openings. */
export function withSessionTimes(chart: Chart): Chart {
  const { t } = chart.columns;
  if (!t.some((seconds) => seconds % DAY === 0)) return chart;
  return { ...chart, columns: { ...chart.columns, t: t.map(barTime) } };
}
