import type { ListedRun } from "bff-client";
import { useEffect, useMemo, useRef, useState } from "react";
import { LIST_LIMIT, MAX_LISTED, useRuns } from "../../api/queries.ts";
import { navigate } from "../../lib/navigation.ts";
import { type ListRoute, playRoute, type SortKey, STATUSES } from "../../lib/route.ts";
import { Link } from "../../ui/link.tsx";
import { Failure, Notice } from "../../ui/notice.tsx";
import { COLUMNS, type Column, METRIC_COLUMNS, RUN_COLUMNS } from "./columns.tsx";
import { CreateRun } from "./create-run.tsx";
import { preloadRunView } from "./preload-run-view.ts";
import { filterAndSort, missingMetrics, pageCount, pageSlice, runsNeedingMetrics } from "./run-list.ts";

function Heading({ route, column }: { route: ListRoute; column: Column }) {
  const sorted = route.sort === column.key;
  const sort = () =>
    navigate({ ...route, sort: column.key, descending: sorted ? !route.descending : true, page: 1 }, true);
  const direction = route.descending ? "descending" : "ascending";
  return (
    <th
      scope="col"
      className={column.className === "number" ? "number" : undefined}
      aria-sort={sorted ? direction : undefined}
    >
      <button type="button" className="sort" onClick={sort}>
        {column.label}
        <span aria-hidden="true">{sorted ? (route.descending ? "↓" : "↑") : ""}</span>
      </button>
    </th>
  );
}

function MetricCells({ run }: { run: ListedRun }) {
  if (run.metrics_state === "pending") {
    return (
      <td colSpan={METRIC_COLUMNS.length} className="number muted">
        metrics pending
      </td>
    );
  }
  return METRIC_COLUMNS.map(({ key, short, cell, toneOf }) => (
    <td key={key} data-label={short} className={`number ${toneOf(run) ?? ""}`}>
      {cell(run)}
    </td>
  ));
}

function Row({ run }: { run: ListedRun }) {
  return (
    <tr>
      {RUN_COLUMNS.map(({ key, className, cell }) =>
        key === "symbol" ? (
          <th key={key} scope="row">
            {cell(run)}
          </th>
        ) : (
          <td key={key} className={className}>
            {cell(run)}
          </td>
        ),
      )}
      <MetricCells run={run} />
      <td className="act">
        {run.status === "DONE" && (
          <Link to={playRoute(run.run_id ?? "")} className="button small">
            Play
            <span className="unseen">
              {" "}
              {run.symbol} {run.run_from}
            </span>
          </Link>
        )}
      </td>
    </tr>
  );
}

/** A text field that is taken over a moment after the last key. */
function Filter({ label, value, apply }: { label: string; value: string; apply: (value: string) => void }) {
  const [text, setText] = useState(value);
  const latest = useRef(apply);
  latest.current = apply;
  // A space at the end may be the beginning of a further word.
  useEffect(() => setText((old) => (old.trim() === value ? old : value)), [value]);
  useEffect(() => {
    if (text.trim() === value) return;
    const timer = setTimeout(() => latest.current(text.trim()), 300);
    return () => clearTimeout(timer);
  }, [text, value]);
  return (
    <label>
      {label}
      <input value={text} size={10} spellCheck={false} onChange={(event) => setText(event.target.value)} />
    </label>
  );
}

/** Says that no run fits; symbols count case, so the one in capitals is offered. */
function NoRuns({ route }: { route: ListRoute }) {
  const capitals = route.symbol.toUpperCase();
  return (
    <p className="note">
      No run fits these filters.
      {capitals !== route.symbol && (
        <>
          {" "}
          <Link to={{ ...route, symbol: capitals, page: 1 }}>Look for {capitals}</Link>
        </>
      )}
    </p>
  );
}

function Filters({ route }: { route: ListRoute }) {
  const set = (change: Partial<ListRoute>) => navigate({ ...route, ...change, page: 1 }, true);
  return (
    <search className="filters">
      <Filter label="Symbol" value={route.symbol} apply={(symbol) => set({ symbol })} />
      <Filter label="Strategy" value={route.strategy} apply={(strategy) => set({ strategy })} />
      <label>
        Status
        <select value={route.status} onChange={(event) => set({ status: event.target.value })}>
          <option value="">all</option>
          {STATUSES.map((status) => (
            <option key={status} value={status}>
              {status.toLowerCase()}
            </option>
          ))}
        </select>
      </label>
      <label className="narrow-only">
        Sort by
        <select
          value={`${route.sort} ${route.descending}`}
          onChange={(event) => {
            const [sort, descending] = event.target.value.split(" ");
            set({ sort: sort as SortKey, descending: descending === "true" });
          }}
        >
          {COLUMNS.flatMap(({ key, label }) =>
            [true, false].map((descending) => (
              <option key={`${key} ${descending}`} value={`${key} ${descending}`}>
                {label} {descending ? "↓" : "↑"}
              </option>
            )),
          )}
        </select>
      </label>
    </search>
  );
}

function Pager({ route, pages }: { route: ListRoute; pages: number }) {
  const go = (page: number) => navigate({ ...route, page });
  return (
    <nav className="pager" aria-label="Pages of runs">
      <button type="button" disabled={route.page <= 1} onClick={() => go(route.page - 1)}>
        Newer
      </button>
      <span>
        Page {Math.min(route.page, pages)} of {pages}
      </span>
      <button type="button" disabled={route.page >= pages} onClick={() => go(route.page + 1)}>
        Older
      </button>
    </nav>
  );
}

export function RunsView({ route }: { route: ListRoute }) {
  const [limit, setLimit] = useState(LIST_LIMIT);
  const onScreen = useRef((all: readonly ListedRun[]) => runsNeedingMetrics(all, route));
  const runs = useRuns(route.symbol, route.strategy, limit, (all) => onScreen.current(all));
  const [creating, setCreating] = useState(false);
  const items = useMemo(() => filterAndSort(runs.data?.items ?? [], route), [runs.data, route]);
  const pages = pageCount(items.length);
  const shown = pageSlice(items, route.page);
  const total = runs.data?.total ?? items.length;
  useEffect(() => {
    onScreen.current = (all) => runsNeedingMetrics(all, route);
  }, [route]);
  // Legacy has read the metrics of what was on the screen when it was asked.
  const lacking = missingMetrics(runsNeedingMetrics(items, route));
  const { refetch } = runs;
  useEffect(() => {
    if (lacking) void refetch({ cancelRefetch: false });
  }, [lacking, refetch]);
  useEffect(() => {
    document.title = "Backtests";
  }, []);
  const there = runs.data !== undefined;
  useEffect(() => {
    if (there) void preloadRunView();
  }, [there]);
  return (
    <section aria-labelledby="title" data-view="list">
      <div className="head">
        <h1 id="title">Runs</h1>
        <span className="muted" role="status">
          {runs.data ? `${items.length} shown` : "loading"}
          {total > limit && ` of the newest ${limit}; there are ${total}`}
        </span>
        {total > limit &&
          (limit < MAX_LISTED ? (
            <button
              type="button"
              className="small"
              disabled={runs.isFetching}
              onClick={() => setLimit(limit + LIST_LIMIT)}
            >
              Load older
            </button>
          ) : (
            <span className="muted">narrow by symbol or strategy for older ones</span>
          ))}
        <span className="spacer" />
        <button type="button" className="primary" onClick={() => setCreating(true)}>
          New run
        </button>
      </div>
      <Filters route={route} />
      {runs.error && <Failure error={runs.error} what="The list could not be read" retry={() => void runs.refetch()} />}
      {runs.data?.metadata.stale && <Notice kind="warn">The backend is away: showing the last known list.</Notice>}
      <div className="card scroll" aria-busy={runs.isPending}>
        <table className="runs">
          <caption className="unseen">Backtest runs</caption>
          <thead>
            <tr>
              {COLUMNS.map((column) => (
                <Heading key={column.key} route={route} column={column} />
              ))}
              <th scope="col">
                <span className="unseen">Playback</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {shown.map((run) => (
              <Row key={run.run_id} run={run} />
            ))}
          </tbody>
        </table>
        {runs.data && items.length === 0 && <NoRuns route={route} />}
      </div>
      {pages > 1 && <Pager route={route} pages={pages} />}
      {creating && <CreateRun close={() => setCreating(false)} />}
    </section>
  );
}
