/** What the views ask for. Keys hold what is asked, not the side that answers: both give the same. */

import {
  focusManager,
  keepPreviousData,
  QueryClient,
  queryOptions,
  skipToken,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import {
  BffError,
  type Chart,
  type Client,
  type CompleteRun,
  isOver,
  type ListedRun,
  type Part,
  type RunHead,
  type RunPage,
  type Timeframe,
} from "bff-client";
import { useState } from "react";
import { type Days, daysAround, runBounds } from "../charts/chart-window.ts";
import { withSessionTimes } from "../charts/session-times.ts";
import { type RunRoute, runRoute } from "../lib/route.ts";
import { useSession } from "./context.ts";

export const LIST_LIMIT = 100;
/** As many as a list may have. */
export const MAX_LISTED = 500;
/** Bars of a chart at most: more than a screen has room for, so that zooming in a little asks for nothing. */
export const CHART_POINTS = 2000;
const RETRIES = 2;
/** Longest Retry-After that is waited for before a failure is shown; after a longer one the next poll asks again. */
const MAX_RETRY_AFTER_MS = 1500;
const RUNNING_POLL_MS = 1000;
const LATE_PART_POLL_MS = 1500;
const LIST_POLL_MS = 15_000;

export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        retry: (failures, error) => failures < RETRIES && isRetryable(error) && retryAfter(error) <= MAX_RETRY_AFTER_MS,
        retryDelay: (attempt, error) => retryAfter(error) + 300 * 2 ** attempt * (0.5 + Math.random()),
        networkMode: "always",
        staleTime: 5000,
      },
    },
  });
}

const isRetryable = (error: unknown) => error instanceof BffError && error.retryable;
const retryAfter = (error: unknown) => (error instanceof BffError && error.retryAfterMs) || 0;

/** Return when to poll next: not before an answer that was refused may be asked for, and no more often than `slow` after one. */
export function pollMs(wanted: number | false, error: unknown, slow = LIST_POLL_MS): number | false {
  if (wanted === false || !error) return wanted;
  return Math.max(wanted, slow, retryAfter(error)) * (1 + Math.random() / 4);
}

/**
 * Refetch all that is shown, because a flag changed. A call in flight finishes on its side and is followed by one over the
 * other side. A hidden page refetches when it is shown.
 */
export async function refetchEverything(queries: QueryClient): Promise<void> {
  if (!focusManager.isFocused()) {
    await queries.invalidateQueries({ refetchType: "none" });
    return;
  }
  const running = queries.getQueryCache().findAll({ type: "active", fetchStatus: "fetching" });
  await queries.invalidateQueries({}, { cancelRefetch: false });
  await Promise.all(
    running.map(({ queryKey }) =>
      queries.refetchQueries({ queryKey, exact: true, type: "active" }, { cancelRefetch: false }),
    ),
  );
}

type SelectShown = (runs: readonly ListedRun[]) => readonly ListedRun[];

/** Read the list; `shown` tells which of its runs are on the screen, when they have come. */
export function useRuns(symbol: string, strategy: string, limit: number, shown: SelectShown) {
  const { client } = useSession();
  return useQuery({
    queryKey: ["runs", symbol, strategy, limit],
    queryFn: ({ signal }) =>
      client.listRuns(
        { limit, order: "-created_at", symbol: symbol || undefined, strategy_id: strategy || undefined },
        { signal, shown },
      ),
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data, error } }) => {
      const moving = data?.items.some((run) => !isOver(run.status)) || data?.metadata.metrics_pending;
      return pollMs(moving ? RUNNING_POLL_MS : LIST_POLL_MS, error);
    },
  });
}

/** Return a run as a list that was shown before has it; undefined if none has. */
function useListedRun(id: string): ListedRun | undefined {
  const queries = useQueryClient();
  const pages = queries.getQueriesData<RunPage>({ queryKey: ["runs"] });
  return pages.flatMap(([, page]) => page?.items ?? []).find((run) => run.run_id === id);
}

const runKey = (id: string) => ["run", id];
const headKey = (id: string) => ["head", id];

function lateParts({ metadata }: CompleteRun): Part[] {
  return (["metrics", "equity", "orders"] as const).filter((part) => metadata.parts[part].state === "timeout");
}

/** What a run's view shows first beside the run: a chart of its whole window. */
interface FirstView {
  timeframe: Timeframe;
  /** What a list has said of the run. */
  listed?: ListedRun | undefined;
}

const runQuery = (client: Client, queries: QueryClient, id: string, opening?: FirstView) =>
  queryOptions({
    queryKey: runKey(id),
    queryFn: ({ signal }) =>
      opening && queries.getQueryData(runKey(id)) === undefined
        ? loadView(client, queries, id, opening, signal)
        : client.getRun(id, { signal }),
  });

const chartKey = (symbol: string, timeframe: Timeframe, { from, to }: Days) => [
  "chart",
  symbol,
  timeframe,
  { from, to },
];

const chartQuery = (client: Client, queries: QueryClient, symbol: string, timeframe: Timeframe, days: Days) =>
  queryOptions({
    queryKey: chartKey(symbol, timeframe, days),
    queryFn: ({ signal }) =>
      client.getChart(
        { symbol, timeframe, ...days, targetPoints: CHART_POINTS },
        { signal, onPreview: (chart) => showPreview(queries, timeframe, chart) },
      ),
    staleTime: 60_000,
    gcTime: 60_000,
  });

/** Show a coarse chart where there is none yet; it counts as old, should the exact one fail to come. */
function showPreview(queries: QueryClient, timeframe: Timeframe, chart: Chart): void {
  const key = chartKey(chart.symbol, timeframe, { from: chart.from_date, to: chart.to_date });
  if (queries.getQueryData(key) === undefined) queries.setQueryData(key, chart, { updatedAt: 0 });
}

/** Ask for all that the view shows in one call; keep its head and its chart as they come, and return the run. */
function loadView(
  client: Client,
  queries: QueryClient,
  id: string,
  { timeframe, listed }: FirstView,
  signal: AbortSignal,
): Promise<CompleteRun> {
  const known = listed && knownWindow(listed);
  const view = client.getView(
    id,
    { timeframe, targetPoints: CHART_POINTS, known },
    { signal, onPreview: (chart) => showPreview(queries, timeframe, chart) },
  );
  // The component that shows a failed part requests it again and shows the error.
  view.head.then((head) => queries.setQueryData(headKey(id), head)).catch(() => undefined);
  view.chart
    .then((chart) => {
      const days = { from: chart.from_date, to: chart.to_date };
      queries.setQueryData(chartKey(chart.symbol, timeframe, days), chart);
    })
    .catch(() => undefined);
  return view.run;
}

function knownWindow({ symbol, run_from, run_to }: ListedRun) {
  if (!symbol || !run_from || !run_to) return undefined;
  const bounds = runBounds({ run_from, run_to });
  return { symbol, ...daysAround(bounds, bounds) };
}

/** Asks for a run before it is shown. */
export interface RunPrefetch {
  /** Somebody opens a run. */
  onOpen: (run: ListedRun) => void;
  /** Somebody is about to. Legacy sends megabytes for it, which nobody may have asked for: there it does nothing. */
  onHover: (run: ListedRun) => void;
}

export function usePrefetchRun(): RunPrefetch {
  const { client, flags } = useSession();
  const queries = useQueryClient();
  const onOpen = (listed: ListedRun) => {
    const { run_id: id } = listed;
    if (id) void queries.prefetchQuery(runQuery(client, queries, id, { timeframe: runRoute(id).timeframe, listed }));
  };
  const cheap = () => flags.side("run_data") === "bff" && flags.side("chart_data") === "bff";
  return { onOpen, onHover: (run) => cheap() && onOpen(run) };
}

/** Return how to ask for a chart that somebody is about to choose; as with runs, over the BFF only. */
export function usePrefetchChart(symbol: string | null | undefined): (timeframe: Timeframe, days: Days) => void {
  const { client, flags } = useSession();
  const queries = useQueryClient();
  return (timeframe, days) => {
    if (symbol && flags.side("chart_data") === "bff") {
      void queries.prefetchQuery(chartQuery(client, queries, symbol, timeframe, days));
    }
  };
}

/** Return what is known of a run before all of it is there: from the view's head, else from the list. */
export function useRunHead(id: string): RunHead | ListedRun | undefined {
  const { data } = useQuery<RunHead>({ queryKey: headKey(id), queryFn: skipToken });
  const listed = useListedRun(id);
  return data ?? listed;
}

/** Read a run; where the view begins with the whole of its window, the chart comes by the same call. */
export function useRun({ run: id, timeframe, from }: RunRoute) {
  const { client } = useSession();
  const queries = useQueryClient();
  const listed = useListedRun(id);
  return useQuery({
    ...runQuery(client, queries, id, from === undefined ? { timeframe, listed } : undefined),
    refetchInterval: ({ state: { data, dataUpdateCount, error } }) => {
      // What was not there at all is looked for again, as the list is.
      if (!data) return isRetryable(error) && pollMs(LIST_POLL_MS, error);
      if (!isOver(data.run.status)) return pollMs(RUNNING_POLL_MS, error);
      // A part that came too late for its answer is there for one of the next.
      return lateParts(data).length > 0 && dataUpdateCount < 6 ? pollMs(LATE_PART_POLL_MS, error) : false;
    },
  });
}

/** Ask for one part of a run again and put it in its place; the other parts stay as they are. */
export function useRetryPart(id: string) {
  const { client } = useSession();
  const queries = useQueryClient();
  const [retrying, setRetrying] = useState<Part>();
  const retry = async (part: Part) => {
    setRetrying(part);
    try {
      const fresh = await client.getRun(id, { include: [part] });
      queries.setQueryData<CompleteRun>(runKey(id), (old) => (old ? withPart(old, fresh, part) : fresh));
    } catch {
      // The part keeps its state, which says that it is not there.
    } finally {
      setRetrying(undefined);
    }
  };
  return { retry, retrying };
}

/** Return a run with one part, and the report on it, from another answer. */
export function withPart(old: CompleteRun, fresh: CompleteRun, part: Part): CompleteRun {
  const parts = { ...old.metadata.parts, [part]: fresh.metadata.parts[part] };
  const among = (...states: string[]) =>
    (["metrics", "equity", "orders"] as const).filter((name) => states.includes(parts[name].state));
  const failed = among("failed", "timeout");
  return {
    ...old,
    [part]: fresh[part],
    metadata: {
      ...old.metadata,
      parts,
      failed_sources: failed,
      partial_data: failed.length + among("missing").length > 0,
    },
  };
}

export function useChart(symbol: string | null | undefined, timeframe: Timeframe, days: Days | undefined) {
  const { client } = useSession();
  const queries = useQueryClient();
  return useQuery({
    ...chartQuery(client, queries, symbol ?? "", timeframe, days ?? { from: "", to: "" }),
    enabled: Boolean(symbol && days),
    select: withSessionTimes,
    placeholderData: keepPreviousData,
    refetchInterval: ({ state: { data, error } }) => pollMs(data?.metadata.stale ? 10_000 : false, error),
  });
}
