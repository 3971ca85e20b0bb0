/** One call's way over HTTP: ids, conditional requests, counting, and errors in one class. */

import { BffError, errorOf } from "./errors.ts";
import type { ClientOptions } from "./types.ts";

const TIMEOUT_MS = 30_000;
const KEPT = 64;
const KEPT_BYTES = 16_000_000;

/** Where and how requests are sent. */
export interface Wire {
  baseUrl: string;
  fetch: typeof fetch;
  headers: () => Record<string, string>;
  kept: Kept;
}

export function makeWire(options: Pick<ClientOptions, "baseUrl" | "fetch" | "headers">): Wire {
  return {
    baseUrl: (options.baseUrl ?? "").replace(/\/+$/, ""),
    // A method of the window must not be called as one of another object.
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    headers: options.headers ?? (() => ({})),
    kept: new Kept(),
  };
}

interface Tagged {
  etag: string;
  value: unknown;
  bytes: number;
}

/** Answers by URL and headers, to be asked for with If-None-Match; the least recently used go first. */
export class Kept {
  #answers = new Map<string, Tagged>();
  #bytes = 0;

  get(key: string): Tagged | undefined {
    const found = this.#answers.get(key);
    if (found) {
      this.#answers.delete(key);
      this.#answers.set(key, found);
    }
    return found;
  }

  set(key: string, answer: Tagged): void {
    this.delete(key);
    this.#answers.set(key, answer);
    this.#bytes += answer.bytes;
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= KEPT && this.#bytes <= KEPT_BYTES) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    this.#bytes -= this.#answers.get(key)?.bytes ?? 0;
    this.#answers.delete(key);
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** Return a path with the fields of a query that have a value. */
export function target(path: string, query: Query = {}): string {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value != null) fields.set(name, String(value));
  return fields.size ? `${path}?${fields}` : path;
}

export function requestId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The requests of one call, and what they took. */
export class Exchange {
  readonly #wire: Wire;
  readonly signal: AbortSignal;
  requests = 0;
  bytes = 0;
  cache: string | undefined;

  constructor(wire: Wire, signal: AbortSignal) {
    this.#wire = wire;
    this.signal = signal;
  }

  /** Return an answer's JSON. Raises BffError, or the signal's reason. `missing` is the code of a plain 404. */
  async get(path: string, query?: Query, missing?: string): Promise<unknown> {
    return this.#send("GET", target(path, query), undefined, {}, missing);
  }

  async post(path: string, body: unknown, headers: Record<string, string>): Promise<unknown> {
    return this.#send("POST", path, JSON.stringify(body), { "content-type": "application/json", ...headers });
  }

  async #send(
    method: string,
    path: string,
    body: string | undefined,
    more: Record<string, string>,
    missing?: string,
  ): Promise<unknown> {
    const { baseUrl, kept } = this.#wire;
    const own = this.#wire.headers();
    const key = `${path} ${JSON.stringify(own)}`;
    const known = method === "GET" ? kept.get(key) : undefined;
    const id = requestId();
    const headers: Record<string, string> = { accept: "application/json", "x-request-id": id, ...own, ...more };
    if (known) headers["if-none-match"] = known.etag;
    const signal = AbortSignal.any([this.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    this.requests++;
    try {
      const response = await this.#wire.fetch(baseUrl + path, { method, headers, body: body ?? null, signal });
      const status = response.headers.get("cache-status") ?? undefined;
      if (known && response.status === 304) {
        this.cache = status ?? "revalidated";
        return known.value;
      }
      const text = await response.text();
      const bytes = Number(response.headers.get("content-length")) || text.length;
      this.bytes += bytes;
      if (!response.ok) throw errorOf(response.status, text, response.headers.get("x-request-id") ?? id, missing);
      const value = JSON.parse(text);
      const etag = response.headers.get("etag");
      if (method === "GET" && etag) kept.set(key, { etag, value, bytes: text.length });
      this.cache = status;
      return value;
    } catch (error) {
      throw this.#failure(error, id);
    }
  }

  #failure(error: unknown, correlationId: string): unknown {
    if (this.signal.aborted) return this.signal.reason;
    if (error instanceof BffError) return error;
    if (error instanceof SyntaxError) {
      return new BffError("MALFORMED", "the answer is not JSON", { correlationId, cause: error });
    }
    const late = error instanceof DOMException && error.name === "TimeoutError";
    return new BffError(late ? "TIMEOUT" : "NETWORK", late ? "no answer came in time" : "no answer came", {
      correlationId,
      cause: error,
    });
  }
}
