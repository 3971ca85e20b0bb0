/** Errors of calls: one class, the canonical codes, whichever of the three shapes the answer had. */

const CODES: Record<number, string> = {
  400: "BAD_REQUEST",
  401: "UNAUTHORIZED",
  403: "FORBIDDEN",
  404: "NOT_FOUND",
  408: "REQUEST_TIMEOUT",
  409: "CONFLICT",
  413: "PAYLOAD_TOO_LARGE",
  422: "VALIDATION",
  429: "TOO_MANY_REQUESTS",
  502: "BACKEND_UNAVAILABLE",
  503: "BUSY",
  504: "BACKEND_TIMEOUT",
};

/**
 * A call that failed. `code` is canonical (`RUN_NOT_FOUND`, `VALIDATION`, `BACKEND_CIRCUIT_OPEN`, …), or the client's own:
 * `NETWORK` (no answer came), `TIMEOUT` (none came in time), `MALFORMED` (not what the schema says).
 */
export class BffError extends Error {
  override readonly name = "BffError";
  readonly code: string;
  /** The answer's HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** Names the request in the logs of nginx and of every service. */
  readonly correlationId: string | null;
  readonly details: Record<string, unknown>;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;

  constructor(
    code: string,
    message: string,
    rest: { status?: number; correlationId?: string | null; details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, { cause: rest.cause });
    this.code = code;
    this.status = rest.status ?? 0;
    this.correlationId = rest.correlationId ?? null;
    this.details = rest.details ?? {};
    this.retryable = this.status === 0 ? code !== "MALFORMED" : this.status >= 502 || this.status === 429;
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return the error that an answer amounts to; `missing` is the code of a 404 that names none. */
export function errorOf(status: number, text: string, id: string | null, missing?: string): BffError {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  return errorIn(status, body, id, missing);
}

/** Return the error that an answer's body amounts to once it is read. */
export function errorIn(status: number, body: unknown, id: string | null, missing?: string): BffError {
  const known = (status === 404 && missing) || CODES[status] || (status >= 500 ? "INTERNAL" : "BAD_REQUEST");
  const said = isObject(body) ? body : {};
  const error = isObject(said["error"]) ? said["error"] : isObject(said["detail"]) ? said["detail"] : said;
  const { detail } = said;
  const details = isObject(error["details"]) ? { ...error["details"] } : {};
  if (Array.isArray(detail)) details["fields"] = fieldsOf(detail);
  const message =
    text_(error["message"]) ??
    text_(detail) ??
    (Array.isArray(detail) ? `invalid: ${Object.keys(fieldsOf(detail)).join(", ")}` : `the answer was ${status}`);
  return new BffError(text_(error["code"]) ?? known, message, {
    status,
    correlationId: text_(details["correlation_id"]) ?? text_(said["correlation_id"]) ?? id,
    details,
  });
}

/** Return FastAPI's list of complaints as what is wrong with each field. */
function fieldsOf(detail: unknown[]): Record<string, string> {
  return Object.fromEntries(
    detail.filter(isObject).map(({ loc, msg }) => [Array.isArray(loc) ? String(loc.at(-1)) : "request", String(msg)]),
  );
}

function text_(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
