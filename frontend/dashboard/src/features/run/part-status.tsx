import type { Part, PartReport } from "bff-client";

const WORDS: Record<PartReport["state"], string> = {
  ok: "",
  missing: "none",
  failed: "failed",
  timeout: "too late",
  stale: "stale",
  skipped: "not asked for",
};

/** How a part of a run fared, with a way to ask for it again. */
export function PartStatus(props: { part: Part; report: PartReport; retry: () => void; retrying: boolean }) {
  const { state, error } = props.report;
  if (state === "ok") return null;
  const reason = typeof error?.["message"] === "string" ? error["message"] : undefined;
  return (
    <span className="part-mark" data-part={props.part} data-state={state}>
      <span className={`badge ${state === "missing" || state === "skipped" ? "off" : "warn"}`} title={reason}>
        {WORDS[state]}
      </span>
      {state !== "missing" && (
        <button type="button" className="small" disabled={props.retrying} onClick={props.retry}>
          {props.retrying ? "Asking…" : "Retry"}
          <span className="unseen"> {props.part}</span>
        </button>
      )}
    </span>
  );
}
