import { type CompleteRun, isOver, type Part } from "bff-client";
import { parseTime } from "bff-client/lib/time";
import { useEffect, useMemo, useRef } from "react";
import { useRetryPart, useRun, useRunHead } from "../../api/queries.ts";
import { LIST, playRoute, type RunRoute } from "../../lib/route.ts";
import { dayInWords, newYork } from "../../lib/time.ts";
import { useAfterPaint } from "../../ui/after-paint.ts";
import { Link } from "../../ui/link.tsx";
import { Failure, Notice } from "../../ui/notice.tsx";
import { Status } from "../../ui/status.tsx";
import { EquityPanel } from "./equity-panel.tsx";
import { MetricsPanel } from "./metrics-panel.tsx";
import { OrdersPanel } from "./orders-panel.tsx";
import { PartStatus } from "./part-status.tsx";
import { PricePanel } from "./price-panel.tsx";

function Head({ data }: { data: CompleteRun }) {
  const { run } = data;
  const params = Object.entries((run.params ?? {}) as Record<string, unknown>);
  const created = parseTime(run.created_at);
  return (
    <>
      <nav aria-label="Breadcrumb" className="crumbs">
        <Link to={LIST}>Runs</Link> <span aria-hidden="true">/</span>{" "}
        <span className="muted">{run.run_id?.slice(0, 8)}</span>
      </nav>
      <div className="head">
        <h1 id="title">
          {run.symbol ?? "Run"} <span className="muted">{run.strategy_id}</span>
        </h1>
        <Status status={run.status} />
        <span className="spacer" />
        {run.run_id && run.status === "DONE" && (
          <Link to={playRoute(run.run_id)} className="button primary">
            Play this run
          </Link>
        )}
      </div>
      <dl className="facts">
        <div>
          <dt>Window</dt>
          <dd>
            {dayInWords(run.run_from)} – {dayInWords(run.run_to)}
          </dd>
        </div>
        <div>
          <dt>Created</dt>
          <dd>{created === undefined ? "–" : `${newYork(created, "full")} ET`}</dd>
        </div>
        {params.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{typeof value === "object" ? JSON.stringify(value) : String(value)}</dd>
          </div>
        ))}
        <div>
          <dt>Seed</dt>
          <dd>{String(run.seed ?? "–")}</dd>
        </div>
      </dl>
    </>
  );
}

const PARTS: readonly Part[] = ["metrics", "equity", "orders"];

/** What the parts of the answer are like, where not all is well: the whole is never pretended to be whole. */
function Parts({ data }: { data: CompleteRun }) {
  const { parts } = data.metadata;
  const lacking = PARTS.filter((part) => !["ok", "skipped", "missing"].includes(parts[part].state));
  const stale = parts.run.state === "stale";
  if (!isOver(data.run.status)) {
    return (
      <Notice kind="info">The run is {data.run.status.toLowerCase()}: its metrics appear here when it is done.</Notice>
    );
  }
  if (lacking.length === 0 && !stale) return null;
  return (
    <Notice kind="warn">
      {stale && "The backend is away: showing the last known version of the run. "}
      {lacking.length > 0 &&
        `This run is incomplete: ${lacking.map((part) => `${part} (${parts[part].state})`).join(", ")}.`}
    </Notice>
  );
}

export default function RunView({ route }: { route: RunRoute }) {
  const run = useRun(route);
  const { retry, retrying } = useRetryPart(route.run);
  const { data } = run;
  // The candles are drawn first; what takes hundreds of elements and another chart comes in the next frame.
  const painted = useRef(false);
  const later = useAfterPaint(data, painted);
  const head = useRunHead(route.run);
  const name = data ? `${data.run.symbol} ${data.run.strategy_id}` : "Run";
  useEffect(() => {
    document.title = `${name} · Backtests`;
  }, [name]);
  const mark = useMemo(() => {
    if (!later) return () => null;
    return (part: Part) => (
      <PartStatus
        report={later.metadata.parts[part]}
        part={part}
        retry={() => void retry(part)}
        retrying={retrying === part}
      />
    );
  }, [later, retry, retrying]);
  // The chart is shown as soon as it is known of what, before the rest of the run.
  const known = data?.run ?? head;
  if (!known || (run.error && !data)) {
    return run.error ? (
      <section aria-labelledby="title">
        <h1 id="title">Run</h1>
        <Failure error={run.error} what="The run could not be read" retry={() => void run.refetch()} />
      </section>
    ) : (
      <p className="note" role="status">
        Loading the run…
      </p>
    );
  }
  return (
    <section aria-labelledby="title" data-view="run" data-status={data?.run.status}>
      {data ? (
        <Head data={data} />
      ) : (
        <div className="head">
          <h1 id="title">{known.symbol ?? "Run"}</h1>
          <span className="muted" role="status">
            Loading the run…
          </span>
        </div>
      )}
      {run.error && (
        <Failure error={run.error} what="The run could not be read again" retry={() => void run.refetch()} />
      )}
      {data && <Parts data={data} />}
      <div className="grid">
        <PricePanel
          // What a list has said may lack the window, which the chart begins with.
          key={String(Boolean(known.run_from && known.run_to))}
          route={route}
          run={known}
          orders={later?.orders ?? null}
          painted={painted}
        />
        {later && (
          <>
            <MetricsPanel data={later} mark={mark("metrics")} />
            <EquityPanel data={later} mark={mark("equity")} />
            <OrdersPanel data={later} mark={mark("orders")} />
          </>
        )}
      </div>
    </section>
  );
}
