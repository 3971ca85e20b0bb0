/** Whether a service of the BFF is there: after it has been silent once, nobody else waits for it until a probe finds it. */

import { type BffError, isUnreachable } from "../errors.ts";

const MAX_PROBE_MS = 30_000;
/** A failure that comes at once costs nobody time: a single one may be a connection that was just being closed. */
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

  /** `probe` asks the service for something small and never rejects; the first probe comes after about `firstMs`. */
  constructor(probe: () => Promise<boolean>, firstMs: number) {
    this.#probe = probe;
    this.#firstMs = firstMs;
  }

  /** What the service failed with, for as long as it counts as away. */
  get failure(): BffError | undefined {
    return this.#failure;
  }

  /** Be called, once, if the service is found to be silent while a request waits for it; returns how to stop. */
  onUnavailable(expire: () => void): () => void {
    this.#waiting.add(expire);
    return () => this.#waiting.delete(expire);
  }

  /** The service has answered a request, whatever it said. */
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

  /** Count the service as there again, as far as anybody knows. */
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
