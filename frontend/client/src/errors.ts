/** Errors of calls: one class with canonical codes, whichever of the three shapes the response had. */

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

const MAX_RETRY_AFTER_MS = 3_600_000;

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
  /** Milliseconds that the answer asks to wait before the next try (`Retry-After`); null where it says nothing. */
  readonly retryAfterMs: number | null;
  /** Whether a proxy in front of the services answered, because it could not reach the one behind the path. */
  readonly edge: boolean;

  constructor(
    code: string,
    message: string,
    rest: {
      status?: number;
      correlationId?: string | null;
      details?: Record<string, unknown>;
      cause?: unknown;
      retryAfterMs?: number | null;
      edge?: boolean;
    } = {},
  ) {
    super(message, { cause: rest.cause });
    this.code = code;
    this.status = rest.status ?? 0;
    this.correlationId = rest.correlationId ?? null;
    this.details = rest.details ?? {};
    this.retryAfterMs = rest.retryAfterMs ?? null;
    this.edge = rest.edge ?? false;
    this.retryable = this.status === 0 ? code !== "MALFORMED" : this.status >= 502 || this.status === 429;
  }
}

/**
 * Tell whether the BFF itself is out of reach or defective, so that legacy may answer in its place. What a service says of
 * the backend (`BACKEND_*`) or of its own load (`BUSY`) is true of legacy too, which is that backend without protection.
 */
export function isBffFailure(error: BffError): boolean {
  return error.status === 0 || error.edge || (error.status >= 500 && error.code === "INTERNAL");
}

/** Return whether the service was not reached at all, so that other calls to it would fail in the same way. */
export function isUnreachable(error: BffError): boolean {
  return error.edge || (error.status === 0 && error.code !== "MALFORMED");
}

/** Return a `Retry-After`, seconds or a date, as milliseconds from `now`; null for none, an hour at most. */
export function parseRetryAfter(value: string | null, now = Date.now()): number | null {
  if (!value) return null;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

interface ResponseInfo {
  /** Names the request in the logs. */
  id: string | null;
  /** The code of a 404 that names none. */
  missing?: string | undefined;
  retryAfterMs?: number | null;
}

/** Return the error that an answer amounts to. */
export function errorFromText(status: number, text: string, info: ResponseInfo): BffError {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  return errorFromBody(status, body, info);
}

/** Return the error that an answer's body amounts to once it is read. */
export function errorFromBody(
  status: number,
  body: unknown,
  { id, missing, retryAfterMs = null }: ResponseInfo,
): BffError {
  const known = (status === 404 && missing) || CODES[status] || (status >= 500 ? "INTERNAL" : "BAD_REQUEST");
  const said = isObject(body) ? body : {};
  const error = isObject(said["error"]) ? said["error"] : isObject(said["detail"]) ? said["detail"] : said;
  const { detail } = said;
  const details = isObject(error["details"]) ? { ...error["details"] } : {};
  if (Array.isArray(detail)) details["fields"] = invalidFields(detail);
  const message =
    nonEmptyString(error["message"]) ??
    nonEmptyString(detail) ??
    (Array.isArray(detail) ? `invalid: ${Object.keys(invalidFields(detail)).join(", ")}` : `the answer was ${status}`);
  const code = nonEmptyString(error["code"]);
  return new BffError(code ?? known, message, {
    status,
    correlationId: nonEmptyString(details["correlation_id"]) ?? nonEmptyString(said["correlation_id"]) ?? id,
    details,
    retryAfterMs,
    // nginx says that it is the edge; a balancer's own page says neither a code nor, as the backend does, a detail.
    edge: status >= 502 && status <= 504 && (details["source"] === "edge" || !(code ?? detail)),
  });
}

/** Return FastAPI's list of complaints as what is wrong with each field. */
function invalidFields(detail: unknown[]): Record<string, string> {
  return Object.fromEntries(
    detail.filter(isObject).map(({ loc, msg }) => [Array.isArray(loc) ? String(loc.at(-1)) : "request", String(msg)]),
  );
}

function nonEmptyString(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
