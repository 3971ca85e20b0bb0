/** Typed client of the backtest BFF: charts, runs and playback, with the legacy backend as the way back. */

export { createClient } from "./client.ts";
export { BffError } from "./errors.ts";
export { FLAG_KEYS, OfrepFlags, type OfrepOptions } from "./flags/ofrep-flags.ts";
export { isRunId, MAX_SYMBOL } from "./lib/keys.ts";
export { isOver } from "./lib/run-status.ts";
export type * from "./types.ts";
