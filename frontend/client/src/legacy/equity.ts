/** An equity curve out of whatever shape the backend's has; fewer points that tell the same story. */

import { isObject } from "../errors.ts";
import { lastIndexAtOrBefore } from "../lib/search.ts";
import { isoTimeMs, parseTimeMs } from "../lib/time.ts";
import type { EquityPoint, Order } from "../types.ts";
import { isNumber, malformedResponse } from "./schema.ts";

const TIMES = ["ts", "timestamp", "ts_utc", "time"];
const VALUES = ["value", "equity"];
const CANONICAL = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;

export interface EquityCurve {
  at: number[];
  points: EquityPoint[];
  /** Whether the drawdown is the backend's own. */
  given: boolean;
  rejected: number;
}

/** Return the curve in ascending order; of several points at one time the last counts. */
export function readEquity(answer: unknown): EquityCurve {
  const rows = isObject(answer) ? answer["equity"] : answer;
  if (!Array.isArray(rows) || !rows.every(isObject)) throw malformedResponse("the equity is a list of points");
  const when = named(rows[0], TIMES);
  const what = named(rows[0], VALUES);
  let ordered = true;
  let made: { at: number; point: EquityPoint }[] = [];
  for (const row of rows) {
    const at = parseTimeMs(row[when]);
    const value = row[what];
    if (Number.isNaN(at) || !isNumber(value)) continue;
    const text = String(row[when]);
    const point: EquityPoint = {
      ts: CANONICAL.test(text) ? text : isoTimeMs(at),
      value,
      drawdown: isNumber(row["drawdown"]) ? row["drawdown"] : null,
    };
    const extra = Object.entries(row).filter(([name]) => name !== when && name !== what && name !== "drawdown");
    if (extra.length) point.extra = Object.fromEntries(extra);
    ordered &&= !made.length || at > (made.at(-1)?.at ?? 0);
    made.push({ at, point });
  }
  if (!ordered) {
    made.sort((a, b) => a.at - b.at);
    made = made.filter(({ at }, row) => made[row + 1]?.at !== at);
  }
  const points = made.map(({ point }) => point);
  const given = points.length > 0 && points.every(({ drawdown }) => drawdown !== null);
  if (!given) {
    const losses = drawdowns(points.map(({ value }) => value));
    for (const [row, point] of points.entries()) point.drawdown = losses[row] ?? null;
  }
  return { at: made.map(({ at }) => at), points, given, rejected: rows.length - points.length };
}

function named(row: Record<string, unknown> | undefined, names: string[]): string {
  const name = row ? names.find((candidate) => candidate in row) : names[0];
  if (name === undefined) throw malformedResponse(`a point of the equity has none of ${names.join(", ")}`);
  return name;
}

/** Return (peak - value) / peak at each point, null where the peak so far is not positive. */
export function drawdowns(values: number[]): (number | null)[] {
  let peak = Number.NEGATIVE_INFINITY;
  return values.map((value) => {
    peak = Math.max(peak, value);
    return peak > 0 ? (peak - value) / peak : null;
  });
}

/**
 * Return at most `most` points (0: all). First, last, maximum, minimum, the bottom of the deepest drawdown and the peak
 * before it stay; so do the orders' minutes if all fit; the rest are the extremes of equal slices (MinMax).
 */
export function downsample({ at, points, given }: EquityCurve, most: number, orders: Order[] | null): EquityPoint[] {
  if (most <= 0 || points.length <= most) return points;
  const values = points.map(({ value }) => value);
  let kept = new Set(landmarks(values, given ? points.map(({ drawdown }) => drawdown ?? -1) : null).slice(0, most));
  if (orders) {
    const more = new Set(kept);
    for (const { ts } of orders) {
      const row = lastIndexAtOrBefore(at, parseTimeMs(ts));
      if (row >= 0) more.add(row);
    }
    if (more.size <= most) kept = more;
  }
  const slices = Math.floor((most - kept.size) / 2);
  if (slices > 0) {
    const width = Math.ceil(values.length / slices);
    for (let start = 0; start < values.length; start += width) {
      for (const sign of [1, -1]) kept.add(highest(values, sign, start, Math.min(start + width, values.length)));
    }
  }
  return [...kept].sort((a, b) => a - b).map((row) => points[row] as EquityPoint);
}

function landmarks(values: number[], own: number[] | null): number[] {
  const depth = drawdowns(values).map((loss) => loss ?? -1);
  const bottom = highest(depth, 1);
  const marks = [0, values.length - 1, highest(values, 1), highest(values, -1), bottom];
  if (own) marks.push(highest(own, 1), highest(own, -1));
  return [...new Set([...marks, highest(values, 1, 0, bottom + 1)])];
}

/** Return the row of the highest value (the lowest for sign -1), the first of equals. */
function highest(values: number[], sign: number, start = 0, end = values.length): number {
  let best = start;
  for (let row = start + 1; row < end; row++) {
    if (sign * (values[row] as number) > sign * (values[best] as number)) best = row;
  }
  return best;
}
