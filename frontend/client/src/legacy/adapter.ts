/** The backend as it was before there was a BFF, with everything that the page then had to do itself. */

import type { Adapter } from "../bff/adapter.ts";
import { getChart } from "./charts.ts";
import { createRun, getRun, listRuns } from "./runs.ts";

export const legacy: Adapter = { listRuns, createRun, getRun, getChart };
