/** Places on a chart's axis (bar indices, fractions and outside included) as times, and back. Pure. */

import { lastIndexAtOrBefore } from "bff-client/lib/search";

const SINGLE_BAR_SECONDS = 60;

/** Return the mean distance of bars in seconds. */
function meanSpacing(times: readonly number[]): number {
  const first = times[0];
  const last = times.at(-1);
  return first === undefined || last === undefined || times.length < 2
    ? SINGLE_BAR_SECONDS
    : (last - first) / (times.length - 1);
}

/** Return the time at an index; beyond the bars it goes on at their mean distance. */
export function timeAt(times: readonly number[], index: number): number | undefined {
  const first = times[0];
  const last = times.at(-1);
  if (first === undefined || last === undefined) return undefined;
  if (index <= 0) return first + index * meanSpacing(times);
  if (index >= times.length - 1) return last + (index - times.length + 1) * meanSpacing(times);
  const below = Math.floor(index);
  const low = times[below] ?? first;
  return low + (index - below) * ((times[below + 1] ?? low) - low);
}

/** Return the index of a time: the inverse of `timeAt`. */
export function indexAt(times: readonly number[], time: number): number | undefined {
  const first = times[0];
  const last = times.at(-1);
  if (first === undefined || last === undefined) return undefined;
  if (time <= first) return (time - first) / meanSpacing(times);
  if (time >= last) return times.length - 1 + (time - last) / meanSpacing(times);
  const low = lastIndexAtOrBefore(times, time);
  const high = low + 1;
  const start = times[low] ?? first;
  return low + (time - start) / ((times[high] ?? start + 1) - start);
}
