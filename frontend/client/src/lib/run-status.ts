/** What the status of a run means. */

import type { RunStatus } from "../types.ts";

const FINISHED: readonly RunStatus[] = ["DONE", "ERROR", "CANCELLED"];

/**
 * Tell whether a run is finished: done, failed or cancelled. An unknown status is not, as in the aggregator: such a run is
 * polled, while one that was taken for finished would never show its metrics.
 */
export function isOver(status: RunStatus | undefined): boolean {
  return status !== undefined && FINISHED.includes(status);
}
