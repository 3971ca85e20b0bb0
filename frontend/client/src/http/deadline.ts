/** Idle and total timeout of a request, combined with its caller's abort signal. */

/** Longest time without a byte, and longest time in total, in milliseconds. */
export interface Timeouts {
  idleMs: number;
  totalMs: number;
}

/** Aborts its `signal` when its caller's is aborted, when nothing moves for `silenceMs`, or after `wholeMs`. */
export class Deadline {
  /** Whether it was time that ran out. */
  isOver = false;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal;
  readonly #idleMs: number;
  readonly #end: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(caller: AbortSignal, { idleMs: silenceMs, totalMs: wholeMs }: Timeouts) {
    this.#caller = caller;
    this.#idleMs = silenceMs;
    this.#end = performance.now() + wholeMs;
    // Not AbortSignal.any, which browsers have since 2024 only.
    caller.addEventListener("abort", this.#abort, { once: true });
    if (caller.aborted) this.#abort();
    this.renew();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Bytes have moved: restart the idle timeout. */
  renew(): void {
    clearTimeout(this.#timer);
    if (this.signal.aborted) return;
    this.#timer = setTimeout(() => this.expire(), Math.min(this.#idleMs, this.#end - performance.now()));
  }

  /** Let time run out now. */
  expire(): void {
    if (this.signal.aborted) return;
    this.isOver = true;
    this.#controller.abort(new DOMException("no answer came in time", "TimeoutError"));
  }

  /** Stop the clock; the request is over. */
  close(): void {
    clearTimeout(this.#timer);
    this.#caller.removeEventListener("abort", this.#abort);
  }

  readonly #abort = (): void => this.#controller.abort(this.#caller.reason);
}
