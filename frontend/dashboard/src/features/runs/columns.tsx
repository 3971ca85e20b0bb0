/** The columns of the list of runs: one entry each; a figure's is in `LISTED_METRICS` of `lib/metrics.ts`. */

import type { ListedRun } from "bff-client";
import { parseTime } from "bff-client/lib/time";
import type { ReactNode } from "react";
import { usePrefetchRun } from "../../api/queries.ts";
import { tone } from "../../lib/format.ts";
import { LISTED_METRICS, METRICS, type Metric } from "../../lib/metrics.ts";
import { type RunSortKey, runRoute, type SortKey } from "../../lib/route.ts";
import { dayInWords, newYork } from "../../lib/time.ts";
import { Link } from "../../ui/link.tsx";
import { Status } from "../../ui/status.tsx";

export interface Column {
  key: SortKey;
  label: string;
  className?: string;
  cell: (run: ListedRun) => ReactNode;
}

/** The name of the row: a link to the run. */
function RunLink({ run }: { run: ListedRun }) {
  const prefetch = usePrefetchRun();
  return (
    <Link
      to={runRoute(run.run_id ?? "")}
      className="run-link"
      prefetch={() => prefetch.onHover(run)}
      onFollow={() => prefetch.onOpen(run)}
    >
      {run.symbol ?? "?"} <span className="muted">{run.strategy_id}</span>
    </Link>
  );
}

function created({ created_at }: ListedRun): string {
  const time = parseTime(created_at);
  return time === undefined ? "–" : newYork(time, "full");
}

/** What a run is; the column `symbol` names its row. */
export const RUN_COLUMNS: readonly (Column & { key: RunSortKey })[] = [
  { key: "created_at", label: "Created (ET)", className: "when", cell: created },
  { key: "symbol", label: "Symbol", cell: (run) => <RunLink run={run} /> },
  { key: "status", label: "Status", cell: ({ status }) => <Status status={status} /> },
  {
    key: "run_from",
    label: "Window",
    className: "window",
    cell: ({ run_from, run_to }) => `${dayInWords(run_from)} – ${dayInWords(run_to)}`,
  },
];

/** How a run did. */
export const METRIC_COLUMNS: readonly (Column & { short: string; toneOf: (run: ListedRun) => string | undefined })[] =
  LISTED_METRICS.map((column) => {
    const { key, label } = column;
    const { format, signed }: Metric = METRICS[key];
    return {
      key,
      label,
      short: "short" in column ? column.short : label,
      className: "number",
      cell: (run) => format(run.metrics?.[key]),
      toneOf: (run) => (signed ? tone(run.metrics?.[key]) : undefined),
    };
  });

export const COLUMNS: readonly Column[] = [...RUN_COLUMNS, ...METRIC_COLUMNS];
