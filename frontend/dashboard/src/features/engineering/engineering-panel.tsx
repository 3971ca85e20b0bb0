import { useMutation } from "@tanstack/react-query";
import type { FlagDetails, FlagKey } from "bff-client";
import { useEffect, useRef } from "react";
import { useFlags, useSession } from "../../api/context.ts";
import { bytes, count, milliseconds, percent } from "../../lib/format.ts";
import { currentRoute, useRoute } from "../../lib/navigation.ts";
import { Failure } from "../../ui/notice.tsx";
import { type Cost, reduction, type Side, type View } from "./call-costs.ts";
import { compareSides } from "./compare-sides.ts";
import { resetCosts, useCosts, useFallbacks } from "./visit-costs.ts";

const NAMES: Record<View, string> = { list: "List of runs", run: "Run", play: "Playback" };
const FLAG_WORDS: Record<string, string> = {
  bff: "everything (master)",
  chart_data: "charts",
  run_data: "runs",
  websocket: "playback",
};

function Flag({ flag }: { flag: FlagDetails }) {
  const { flags } = useSession();
  const key = flag.key as FlagKey;
  return (
    <li>
      <label className="switch">
        <input
          type="checkbox"
          role="switch"
          aria-checked={flag.value}
          checked={flag.value}
          onChange={(event) => flags.override(key, event.target.checked)}
        />
        <span>
          <code>{flag.key}</code> {FLAG_WORDS[flag.key]}
        </span>
      </label>
      <span className="muted">
        {flag.overridden ? "set in this browser" : `${flag.reason.toLowerCase()}, from ${flag.source}`}
      </span>
      {flag.overridden && (
        <button type="button" className="small" onClick={() => flags.override(key, undefined)}>
          Reset<span className="unseen"> {flag.key}</span>
        </button>
      )}
    </li>
  );
}

type CostRow = readonly [string, (cost: Cost) => number, (value: number | undefined) => string];
const COST_ROWS: readonly CostRow[] = [
  ["Calls", (cost) => cost.calls, count],
  ["Bytes", (cost) => cost.bytes, bytes],
  ["Time", (cost) => cost.ms, milliseconds],
];

function Comparison({ title, of }: { title: string; of: Partial<Record<Side, Cost>> }) {
  return (
    <table className="comparison">
      <caption>{title}</caption>
      <thead>
        <tr>
          <th scope="col">
            <span className="unseen">Measure</span>
          </th>
          <th scope="col" className="number">
            Legacy
          </th>
          <th scope="col" className="number">
            BFF
          </th>
          <th scope="col" className="number">
            Less
          </th>
        </tr>
      </thead>
      <tbody>
        {COST_ROWS.map(([label, read, show]) => {
          const legacy = of.legacy && read(of.legacy);
          const bff = of.bff && read(of.bff);
          const less = reduction(legacy, bff);
          return (
            <tr key={label} data-measure={label.toLowerCase()}>
              <th scope="row">{label}</th>
              <td className="number">{show(legacy)}</td>
              <td className="number">{show(bff)}</td>
              <td className={`number ${less && less > 0 ? "gain" : ""}`}>{less === undefined ? "–" : percent(less)}</td>
            </tr>
          );
        })}
        <tr>
          <th scope="row">Cache</th>
          <td className="number cache">{of.legacy ? of.legacy.cache || "none" : "–"}</td>
          <td className="number cache">{of.bff ? cacheInWords(of.bff.cache) : "–"}</td>
          <td />
        </tr>
      </tbody>
    </table>
  );
}

/** The first word or two of a Cache-Status (RFC 9211): `hit`, `fwd=miss`. */
function cacheInWords(status: string): string {
  const [, ...said] = status.split(";").map((part) => part.trim());
  return said[0] ?? (status || "none");
}

export function EngineeringPanel({ close }: { close: () => void }) {
  const route = useRoute();
  const flags = useFlags();
  const measured = useCosts();
  const fallbacks = useFallbacks();
  const comparison = useMutation({ mutationFn: () => compareSides(currentRoute()) });
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  return (
    <aside id="engineers" className="panel" aria-labelledby="engineers-title">
      <header>
        <h2 id="engineers-title" ref={heading} tabIndex={-1}>
          Engineering
        </h2>
        <button type="button" className="quiet" onClick={close}>
          Close
        </button>
      </header>

      <h3>Flags</h3>
      <ul className="flags">
        {flags.map((flag) => (
          <Flag key={flag.key} flag={flag} />
        ))}
      </ul>

      <h3>{NAMES[route.view]}: legacy and BFF</h3>
      <p className="note small">Loads this view's data once over either side, one after the other, and compares.</p>
      <button type="button" className="primary" disabled={comparison.isPending} onClick={() => comparison.mutate()}>
        {comparison.isPending ? "Measuring…" : "Measure both"}
      </button>
      {comparison.error && <Failure error={comparison.error} what="Measuring failed" />}
      {comparison.data && <Comparison title="Measured just now" of={comparison.data} />}

      <h3>This visit, all calls</h3>
      {(Object.keys(NAMES) as View[])
        .filter((view) => measured[view].bff || measured[view].legacy)
        .map((view) => (
          <Comparison key={view} title={NAMES[view]} of={measured[view]} />
        ))}
      <button type="button" className="small" onClick={resetCosts}>
        Reset counts
      </button>

      {fallbacks.length > 0 && (
        <>
          <h3>Fell back to legacy</h3>
          <ul className="fallbacks">
            {fallbacks.map((report, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: reports have no name of their own and never move
              <li key={index}>
                {report.call}: <code>{report.error?.code}</code> {report.error?.correlationId}
              </li>
            ))}
          </ul>
        </>
      )}
    </aside>
  );
}
