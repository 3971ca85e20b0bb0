/** Tracks whether a service of the BFF responds: after one timeout no further call waits for it until a probe succeeds. */

import { type BffError, isUnreachable } from "../errors.ts";

const MAX_PROBE_MS = 30_000;
/** Consecutive fast failures that mark the service as away; a single one may be a connection that was just closing. */
const FAST_FAILURES = 2;

export class Availability {
  readonly #probe: () => Promise<boolean>;
  readonly #firstMs: number;
  readonly #waiting = new Set<() => void>();
  #failure: BffError | undefined;
  #failures = 0;
  #probes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `probe` requests something small from the service and never rejects; the first probe runs after about `firstMs`. */
  constructor(probe: () => Promise<boolean>, firstMs: number) {
    this.#probe = probe;
    this.#firstMs = firstMs;
  }

  /** The failure that marked the service as away; undefined while it is available. */
  get failure(): BffError | undefined {
    return this.#failure;
  }

  /** Call `expire` if the service times out while a request is waiting for it. Returns how to unsubscribe. */
  onUnavailable(expire: () => void): () => void {
    this.#waiting.add(expire);
    return () => this.#waiting.delete(expire);
  }

  /** The service has responded, with whatever status. */
  recordSuccess(): void {
    this.#failures = 0;
    this.#probes = 0;
    this.reset();
  }

  /** A request to the service has failed. */
  recordFailure(error: BffError): void {
    if (!isUnreachable(error)) {
      this.recordSuccess();
      return;
    }
    const silent = error.code === "TIMEOUT";
    if (!silent && ++this.#failures < FAST_FAILURES) return;
    const known = this.#failure !== undefined;
    this.#failure = error;
    if (!known) this.#scheduleProbe();
    if (silent) for (const expire of [...this.#waiting]) expire();
  }

  /** Treat the service as available until the next failure. */
  reset(): void {
    this.#failure = undefined;
    clearTimeout(this.#timer);
  }

  close(): void {
    this.#closed = true;
    this.reset();
  }

  #scheduleProbe(): void {
    if (this.#closed) return;
    const wait = Math.min(MAX_PROBE_MS, this.#firstMs * 2 ** this.#probes++) * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(async () => {
      const found = await this.#probe();
      if (!this.#failure) return;
      // Whether it is well again only a call can tell: until one is answered the probes stay as rare as they are.
      if (found) this.reset();
      else this.#scheduleProbe();
    }, wait);
    // Node, which waits for timers, has nothing to wait for here.
    (this.#timer as { unref?: () => void }).unref?.();
  }
}
