/** What the status of a run means. */

import type { RunStatus } from "../types.ts";

const FINISHED: readonly RunStatus[] = ["DONE", "ERROR", "CANCELLED"];

export function isOver(status: RunStatus): boolean {
  return FINISHED.includes(status);
}
