/** The seek bar covers the whole run: by frame once their number is known, by time until then. Pure. */

import { isoTime } from "bff-client/lib/time";

export interface Extent {
  /** Frames of the run, once that is known. */
  total: number | undefined;
  /** First and last second of the run. */
  from: number;
  to: number;
}

export interface Position {
  seq: number | undefined;
  at: number | undefined;
}

export const SEEK_STEPS = 1000;

/** Return where a position stands on the bar, from 0 to 1. */
export function fractionOf(position: Position, extent: Extent): number {
  const { total, from, to } = extent;
  if (total && total > 1 && position.seq !== undefined) return Math.min(1, Math.max(0, position.seq) / (total - 1));
  if (position.at === undefined || to <= from) return 0;
  return Math.min(1, Math.max(0, (position.at - from) / (to - from)));
}

/** Return what to seek for a place on the bar: a frame's index, or an ISO time. */
export function seekTarget(fraction: number, extent: Extent): number | string {
  if (extent.total && extent.total > 1) return Math.round(fraction * (extent.total - 1));
  return fraction <= 0 ? 0 : isoTime(Math.round(extent.from + fraction * (extent.to - extent.from)));
}
