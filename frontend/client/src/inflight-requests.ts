/** Coalesces requests for the same thing; the shared request is aborted when its last caller has gone. */

interface InflightRequest {
  controller: AbortController;
  callers: number;
  keys: string[];
}

/** A result of a request in flight, under one of its keys. */
interface SharedResult {
  request: InflightRequest;
  result: unknown;
}

/** Offer a result of the running request under a further key as well, until it has settled. */
export type ShareAs = (key: string, result: Promise<unknown>) => void;

/** One caller's share of a request: the result, and how to stop waiting for it. */
export interface Share<T> {
  result: T;
  release(): void;
}

export class InflightRequests {
  #results = new Map<string, SharedResult>();

  /** Join the request with this key, or start it. Rejects with the signal's reason as soon as that is aborted. */
  async join<T>(key: string, signal: AbortSignal | undefined, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const { result, release } = this.share(key, start, (promise) => promise);
    try {
      return await abortable(result, signal);
    } finally {
      release();
    }
  }

  /** Share the request with this key, or start it; it can be shared until its result has `settled`. */
  share<T>(
    key: string,
    start: (signal: AbortSignal, shareAs: ShareAs) => T,
    settled: (result: T) => Promise<unknown>,
  ): Share<T> {
    let shared = this.#results.get(key);
    if (!shared) {
      const request: InflightRequest = { controller: new AbortController(), callers: 0, keys: [] };
      const result = start(request.controller.signal, (otherKey, part) => {
        if (!request.controller.signal.aborted) this.#add(otherKey, { request, result: part }, part);
      });
      shared = { request, result };
      this.#add(key, shared, settled(result));
    }
    const { request, result } = shared;
    request.callers++;
    const release = (): void => {
      if (--request.callers === 0 && this.#remove(request)) request.controller.abort();
    };
    return { result: result as T, release };
  }

  #add(key: string, shared: SharedResult, settled: Promise<unknown>): void {
    if (this.#results.has(key)) return;
    this.#results.set(key, shared);
    shared.request.keys.push(key);
    const done = (): void => {
      if (this.#results.get(key) === shared) this.#results.delete(key);
    };
    settled.then(done, done);
  }

  /** Let no further caller join a request; returns whether any of its results has not settled yet. */
  #remove(request: InflightRequest): boolean {
    const pending = request.keys.filter((key) => this.#results.get(key)?.request === request);
    for (const key of pending) this.#results.delete(key);
    return pending.length > 0;
  }
}

/** Settle as a promise does, or reject with the signal's reason as soon as that is aborted. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
