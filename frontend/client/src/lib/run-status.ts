/** What the status of a run means. */

import type { RunStatus } from "../types.ts";

const FINISHED: readonly RunStatus[] = ["DONE", "ERROR", "CANCELLED"];

/**
 * Whether a run is finished. A status that is not known here is not, as the aggregator sees it too: such a run is asked
 * for again, while one that was taken for finished would never show its figures.
 */
export function isOver(status: RunStatus | undefined): boolean {
  return status !== undefined && FINISHED.includes(status);
}
