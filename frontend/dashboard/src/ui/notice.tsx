import { BffError } from "bff-client";
import type { ReactNode } from "react";

/** Something the user should know, with what can be done about it. */
export function Notice({
  kind,
  children,
  action,
}: {
  kind: "info" | "warn" | "bad";
  children: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className={`notice ${kind}`} role={kind === "bad" ? "alert" : "status"}>
      <span>{children}</span>
      {action}
    </div>
  );
}

/** What failed, in words; the correlation id finds it in every log. */
export function Failure({ error, what, retry }: { error: unknown; what: string; retry?: () => void }) {
  const known = error instanceof BffError ? error : undefined;
  return (
    <Notice
      kind="bad"
      action={
        retry && (
          <button type="button" onClick={retry}>
            Retry
          </button>
        )
      }
    >
      {what}: {error instanceof Error ? error.message : String(error)}
      {known && (
        <small>
          {" "}
          <code>{known.code}</code>
          {known.correlationId && <> · id {known.correlationId}</>}
        </small>
      )}
    </Notice>
  );
}
