/** The HTTP requests of one call: request ids, conditional requests, deadlines, accounting and error mapping. */

import type { Availability } from "../bff/availability.ts";
import { BffError, errorFromBody, errorFromText, isObject, parseRetryAfter } from "../errors.ts";
import { randomId } from "../lib/random-id.ts";
import type { ClientOptions, Side } from "../types.ts";
import { readLines, readText } from "./body.ts";
import { Deadline, type Timeouts } from "./deadline.ts";
import { EtagCache } from "./etag-cache.ts";

/** The services respond within 2 s, if only with an error about the backend. */
const READ_IDLE_MS = 5000;
const TOTAL_MS = 60_000;
/** The backend may take long to load a run, or to create one. */
const BACKEND_TIMEOUTS: Timeouts = { idleMs: 30_000, totalMs: TOTAL_MS };
const NDJSON = "application/x-ndjson";
const MAX_LINE_CHARS = 64_000_000;

/** Where and how requests are sent. */
export interface HttpConfig {
  baseUrl: string;
  fetch: typeof fetch;
  headers: () => Record<string, string>;
  etagCache: EtagCache;
  /** Timeouts of reads from the BFF. */
  readTimeouts: Timeouts;
  /** Availability of the service behind the reads of the BFF; undefined where fallback is off. */
  availability?: Availability;
}

export function makeHttpConfig(options: Pick<ClientOptions, "baseUrl" | "fetch" | "headers" | "readMs">): HttpConfig {
  return {
    baseUrl: (options.baseUrl ?? "").replace(/\/+$/, ""),
    // A method of the window must not be called as one of another object.
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    headers: options.headers ?? (() => ({})),
    etagCache: new EtagCache(),
    readTimeouts: { idleMs: options.readMs ?? READ_IDLE_MS, totalMs: TOTAL_MS },
  };
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** Return a path with a query string of the fields that have a value. */
export function pathWithQuery(path: string, query: Query = {}): string {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value != null) fields.set(name, String(value));
  return fields.size ? `${path}?${fields}` : path;
}

/** A line of an NDJSON response. */
export interface Line {
  value: unknown;
  /** Names the request in the logs. */
  correlationId: string;
  /** Cache a part of the line as the response to a GET of `path`. */
  keep(path: string, etag: string, value: unknown): void;
}

function isPreview(value: unknown): boolean {
  return isObject(value) && isObject(value["metadata"]) && value["metadata"]["preview"] === true;
}

function cacheKey(path: string, headers: Record<string, string>): string {
  return `${path} ${JSON.stringify(headers)}`;
}

/** Return the encoded size in bytes of the last body from `url`; 0 where the browser does not report it. */
async function encodedBytes(url: string): Promise<number> {
  // Browsers note it a moment after the body has ended.
  await new Promise((resolve) => setTimeout(resolve));
  const timing = performance.getEntriesByName?.(url, "resource").at(-1) as PerformanceResourceTiming | undefined;
  return timing?.encodedBodySize ?? 0;
}

/** Sends the requests of one call and counts them. */
export class RequestContext {
  readonly http: HttpConfig;
  readonly signal: AbortSignal;
  /** The side that is called; timeouts depend on it. */
  side: Side;
  requests = 0;
  bytes = 0;
  cache: string | undefined;

  constructor(http: HttpConfig, signal: AbortSignal, side: Side = "bff") {
    this.http = http;
    this.signal = signal;
    this.side = side;
  }

  /**
   * GET JSON. Throws BffError, or the signal's reason once that is aborted. `missing` is the error code of a bare 404. With
   * `early` the answer may be NDJSON: a line that is marked as a preview is passed on as it arrives, the other one returned.
   */
  async get(path: string, query?: Query, missing?: string, early?: (line: unknown) => void): Promise<unknown> {
    const { etagCache: kept } = this.http;
    const whole = pathWithQuery(path, query);
    const own = this.http.headers();
    const known = kept.get(cacheKey(whole, own));
    const headers = {
      ...(early && { accept: `${NDJSON}, application/json` }),
      ...own,
      ...(known && { "if-none-match": known.etag }),
    };
    return this.#send("GET", whole, null, headers, async (response, id, deadline) => {
      const cache = response.headers.get("cache-status") ?? undefined;
      if (known && response.status === 304) {
        this.cache = cache ?? "revalidated";
        return known.value;
      }
      if (early && response.body && response.headers.get("content-type") === NDJSON) {
        let last: unknown;
        await this.#lines(response, response.body, deadline, (text) => {
          const value: unknown = JSON.parse(text);
          if (isPreview(value)) early(value);
          else last = value;
        });
        if (isObject(last) && isObject(last["error"])) throw errorFromBody(Number(last["status"]), last, { id });
        if (last === undefined) throw new BffError("NETWORK", "the answer broke off", { correlationId: id });
        return last;
      }
      const text = await this.#text(response, id, deadline, missing);
      const value: unknown = JSON.parse(text);
      const etag = response.headers.get("etag");
      if (etag) kept.set(cacheKey(whole, own), { etag, value, bytes: text.length });
      this.cache = cache;
      return value;
    });
  }

  async post(path: string, body: unknown, headers: Record<string, string>): Promise<unknown> {
    const all = { ...this.http.headers(), "content-type": "application/json", ...headers };
    return this.#send("POST", path, JSON.stringify(body), all, async (response, id, deadline) => {
      const value: unknown = JSON.parse(await this.#text(response, id, deadline));
      this.cache = response.headers.get("cache-status") ?? undefined;
      return value;
    });
  }

  /** GET NDJSON and pass on each line as it arrives; returns the request id. Throws BffError, or the signal's reason. */
  async lines(path: string, take: (line: Line) => void): Promise<string> {
    const own = this.http.headers();
    return this.#send("GET", path, null, { accept: NDJSON, ...own }, async (response, id, deadline) => {
      if (!response.ok || !response.body) {
        await this.#text(response, id, deadline);
        return id;
      }
      this.cache = response.headers.get("cache-status") ?? undefined;
      await this.#lines(response, response.body, deadline, (text) => {
        const keep: Line["keep"] = (other, etag, value) =>
          this.http.etagCache.set(cacheKey(other, own), { etag, value, bytes: text.length });
        take({ value: JSON.parse(text), correlationId: id, keep });
      });
      return id;
    });
  }

  /** Pass on each line of a body as it arrives, and count its bytes. */
  async #lines(
    response: Response,
    body: ReadableStream<Uint8Array>,
    deadline: Deadline,
    take: (text: string) => void,
  ): Promise<void> {
    let decoded = 0;
    const count = (bytes: number): void => {
      decoded += bytes;
      deadline.renew();
    };
    for await (const text of readLines(body, MAX_LINE_CHARS, count)) take(text);
    this.bytes += (await encodedBytes(response.url)) || decoded;
  }

  async #send<T>(
    method: string,
    path: string,
    body: string | null,
    more: Record<string, string>,
    read: (response: Response, id: string, deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const id = randomId();
    const headers = { accept: "application/json", "x-request-id": id, ...more };
    const isRead = this.side === "bff" && method === "GET";
    const deadline = new Deadline(this.signal, isRead ? this.http.readTimeouts : BACKEND_TIMEOUTS);
    const { availability: presence } = this.http;
    const stop = isRead ? presence?.onUnavailable(() => deadline.expire()) : undefined;
    this.requests++;
    try {
      const init = { method, headers, body, signal: deadline.signal };
      const response = await this.http.fetch(this.http.baseUrl + path, init);
      stop?.();
      deadline.renew();
      return await read(response, response.headers.get("x-request-id") ?? id, deadline);
    } catch (error) {
      throw this.#failure(error, id, deadline.isOver);
    } finally {
      stop?.();
      deadline.close();
    }
  }

  /** Return an answer's text. Raises BffError if it is an error. */
  async #text(response: Response, id: string, deadline: Deadline, missing?: string): Promise<string> {
    const text = response.body ? await readText(response.body, () => deadline.renew()) : await response.text();
    this.bytes += Number(response.headers.get("content-length")) || text.length;
    if (!response.ok) {
      const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
      throw errorFromText(response.status, text, { id, missing, retryAfterMs });
    }
    return text;
  }

  #failure(error: unknown, correlationId: string, late: boolean): unknown {
    if (this.signal.aborted) return this.signal.reason;
    if (error instanceof BffError) return error;
    if (error instanceof SyntaxError) {
      return new BffError("MALFORMED", "the answer is not JSON", { correlationId, cause: error });
    }
    return new BffError(late ? "TIMEOUT" : "NETWORK", late ? "no answer came in time" : "no answer came", {
      correlationId,
      cause: error,
    });
  }
}
