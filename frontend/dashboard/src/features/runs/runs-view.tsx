import type { ListedRun } from "bff-client";
import { parseTime } from "bff-client/lib/time";
import { useEffect, useMemo, useRef, useState } from "react";
import { LIST_LIMIT, MOST_LISTED, useHeadStart, useRuns } from "../../api/queries.ts";
import { percent, ratio, tone } from "../../lib/format.ts";
import { navigate } from "../../lib/navigation.ts";
import { type ListRoute, playRoute, runRoute, type SortKey, STATUSES } from "../../lib/route.ts";
import { dayInWords, newYork } from "../../lib/time.ts";
import { Link } from "../../ui/link.tsx";
import { Failure, Notice } from "../../ui/notice.tsx";
import { Status } from "../../ui/status.tsx";
import { CreateRun } from "./create-run.tsx";
import { prepareRunView } from "./preload-run-view.ts";
import { lackingOf, listed, pageOf, pagesOf, readFor } from "./run-list.ts";

const COLUMNS: readonly { key: SortKey; label: string; number?: true }[] = [
  { key: "created_at", label: "Created (ET)" },
  { key: "symbol", label: "Symbol" },
  { key: "status", label: "Status" },
  { key: "run_from", label: "Window" },
  { key: "total_return", label: "Return", number: true },
  { key: "sharpe_ratio", label: "Sharpe", number: true },
  { key: "max_drawdown", label: "Max drawdown", number: true },
  { key: "win_rate", label: "Win rate", number: true },
];

function Heading({ route, column }: { route: ListRoute; column: (typeof COLUMNS)[number] }) {
  const sorted = route.sort === column.key;
  const sort = () =>
    navigate({ ...route, sort: column.key, descending: sorted ? !route.descending : true, page: 1 }, true);
  const direction = route.descending ? "descending" : "ascending";
  return (
    <th scope="col" className={column.number && "number"} aria-sort={sorted ? direction : undefined}>
      <button type="button" className="sort" onClick={sort}>
        {column.label}
        <span aria-hidden="true">{sorted ? (route.descending ? "↓" : "↑") : ""}</span>
      </button>
    </th>
  );
}

function Figures({ run }: { run: ListedRun }) {
  if (run.metrics_state === "pending") {
    return (
      <td colSpan={4} className="number muted">
        figures are coming
      </td>
    );
  }
  const { total_return, sharpe_ratio, max_drawdown, win_rate } = run.metrics ?? {};
  return (
    <>
      <td data-label="Return" className={`number ${tone(total_return) ?? ""}`}>
        {percent(total_return, true)}
      </td>
      <td data-label="Sharpe" className="number">
        {ratio(sharpe_ratio)}
      </td>
      <td data-label="Drawdown" className="number">
        {percent(max_drawdown)}
      </td>
      <td data-label="Win rate" className="number">
        {percent(win_rate)}
      </td>
    </>
  );
}

function Row({ run }: { run: ListedRun }) {
  const id = run.run_id ?? "";
  const ahead = useHeadStart();
  const created = parseTime(run.created_at);
  return (
    <tr>
      <td className="when">{created === undefined ? "–" : newYork(created, "full")}</td>
      <th scope="row">
        <Link to={runRoute(id)} className="run-link" intended={() => ahead.intend(run)} before={() => ahead.open(run)}>
          {run.symbol ?? "?"} <span className="muted">{run.strategy_id}</span>
        </Link>
      </th>
      <td>
        <Status status={run.status} />
      </td>
      <td className="window">
        {dayInWords(run.run_from)} – {dayInWords(run.run_to)}
      </td>
      <Figures run={run} />
      <td className="act">
        {run.status === "DONE" && (
          <Link to={playRoute(id)} className="button small">
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

function Filters({ route }: { route: ListRoute }) {
  const set = (change: Partial<ListRoute>) => navigate({ ...route, ...change, page: 1 }, true);
  return (
    <search className="filters">
      <Filter label="Symbol" value={route.symbol} apply={(symbol) => set({ symbol: symbol.toUpperCase() })} />
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
  const onScreen = useRef((all: readonly ListedRun[]) => readFor(all, route));
  const runs = useRuns(route.symbol, route.strategy, limit, (all) => onScreen.current(all));
  const [creating, setCreating] = useState(false);
  const items = useMemo(() => listed(runs.data?.items ?? [], route), [runs.data, route]);
  const pages = pagesOf(items.length);
  const shown = pageOf(items, route.page);
  const total = runs.data?.total ?? items.length;
  useEffect(() => {
    onScreen.current = (all) => readFor(all, route);
  }, [route]);
  // Legacy has read the metrics of what was on the screen when it was asked.
  const lacking = lackingOf(readFor(items, route));
  const { refetch } = runs;
  useEffect(() => {
    if (lacking) void refetch({ cancelRefetch: false });
  }, [lacking, refetch]);
  useEffect(() => {
    document.title = "Backtests";
  }, []);
  const there = runs.data !== undefined;
  useEffect(() => {
    if (there) void prepareRunView();
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
          (limit < MOST_LISTED ? (
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
      {runs.data?.metadata.stale && (
        <Notice kind="warn">The backend is away: this is the list as it was last known.</Notice>
      )}
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
        {runs.data && items.length === 0 && <p className="note">No run fits these filters.</p>}
      </div>
      {pages > 1 && <Pager route={route} pages={pages} />}
      {creating && <CreateRun close={() => setCreating(false)} />}
    </section>
  );
}
