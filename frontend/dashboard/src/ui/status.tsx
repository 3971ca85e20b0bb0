const KINDS: Record<string, string> = { DONE: "ok", ERROR: "bad", CANCELLED: "off", RUNNING: "live", QUEUED: "live" };

/** A run's status, in a word and a colour. */
export function Status({ status }: { status: string }) {
  return <span className={`badge ${KINDS[status] ?? "off"}`}>{status.charAt(0) + status.slice(1).toLowerCase()}</span>;
}
