/**
 * Decides when flags are evaluated again: on the server's event, else by polling. One tab of a browser holds the event
 * stream for all, because a browser opens six HTTP/1.1 connections to an origin, whatever the number of its tabs; it
 * evaluates for all as well, and the others take its evaluation over.
 */

const SLOW_POLL_MS = 30_000;
/** An event reaches every browser at once: each waits a random part of this before it asks. */
const EVENT_JITTER_MS = 200;
/** An event stream that was open for this long was healthy: its next failure resets the backoff. */
const HEALTHY_AFTER_MS = 10_000;

/** What the tabs of a browser share. */
export interface Tabs {
  locks: Pick<LockManager, "request"> | undefined;
  isVisible(): boolean;
  /** Return how to call the other tabs; undefined where that cannot be. */
  channel(name: string): Pick<BroadcastChannel, "postMessage" | "close" | "onmessage"> | undefined;
  /** Be called when this tab is shown or hidden, or another has written to the store; returns how to stop. */
  on(type: "visibilitychange" | "storage", listener: () => void): () => void;
}

/** Return the tabs of this browser; null where there are none. */
export function browserTabs(): Tabs | null {
  if (typeof document === "undefined") return null;
  return {
    locks: globalThis.navigator.locks,
    isVisible: () => document.visibilityState === "visible",
    channel: (name) => globalThis.BroadcastChannel && new BroadcastChannel(name),
    on: (type, listener) => {
      const target = type === "storage" ? globalThis : document;
      target.addEventListener(type, listener);
      return () => target.removeEventListener(type, listener);
    },
  };
}

/** Outcome of an evaluation. */
export interface RefreshResult {
  /** Whether the flags are known, changed or not. */
  ok: boolean;
  changed: boolean;
  retryAfterMs: number | null;
}

export interface WatchOptions {
  url: string;
  EventSource: typeof EventSource | null | undefined;
  tabs: Tabs | null;
  /** How long to wait for the first poll, in milliseconds; it doubles to 30 s. */
  pollMs: number;
  /** Evaluate the flags. Never rejects. */
  refresh(): Promise<RefreshResult>;
  /** Return the last evaluation, for the other tabs; it has to survive a structured clone. */
  evaluation(): unknown;
  /** Take another tab's evaluation over; returns false where it is of no use here, and this tab has to ask by itself. */
  adopt(evaluation: unknown): boolean;
}

export class FlagWatch {
  readonly #options: WatchOptions;
  readonly #channel: ReturnType<Tabs["channel"]>;
  readonly #unlisten: (() => void) | undefined;
  #events: EventSource | null = null;
  #openedAt = Number.POSITIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Polls since the event stream worked last. */
  #attempt = 0;
  /** Aborting it resigns as leader, or leaves the election; null while the tab is hidden. */
  #candidacy: AbortController | null = null;
  #isLeader = false;
  /** Set from an event until the flags are known again; the timer is that of the jitter. */
  #isOutdated = false;
  #jitter: ReturnType<typeof setTimeout> | undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
    const { tabs, url } = options;
    this.#channel = tabs?.channel(url);
    if (this.#channel) this.#channel.onmessage = ({ data }) => this.#onTold(data);
    this.#unlisten = tabs?.on("visibilitychange", () => {
      if (this.#followVisibility()) void this.#poll();
    });
    this.#followVisibility();
    this.#schedulePoll();
  }

  close(): void {
    this.#unlisten?.();
    this.#channel?.close();
    this.#stop();
  }

  /** Stand for election while this tab is visible; returns whether that has just begun. */
  #followVisibility(): boolean {
    if (this.#options.tabs?.isVisible() === false) {
      this.#stop();
      return false;
    }
    if (this.#candidacy) return false;
    this.#candidacy = new AbortController();
    void this.#campaign(this.#candidacy.signal);
    return true;
  }

  /** Stop polling and listening, and resign as leader. */
  #stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#jitter);
    this.#isOutdated = false;
    this.#candidacy?.abort();
    this.#candidacy = null;
    this.#isLeader = false;
    this.#events?.close();
    this.#events = null;
  }

  /** Wait for the lock of the tab that listens for all; it passes on as soon as this tab is closed or hidden. */
  async #campaign(signal: AbortSignal): Promise<void> {
    const { tabs, url } = this.#options;
    const lead = (): Promise<void> | undefined => {
      if (signal.aborted) return undefined;
      this.#isLeader = true;
      this.#attempt = 0;
      this.#openEvents();
      this.#schedulePoll();
      return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    };
    // Without both each tab that can be seen listens by itself.
    if (!tabs?.locks || !this.#channel) void lead();
    else await tabs.locks.request(url, { signal }, lead).catch(() => void lead());
  }

  #openEvents(): void {
    const { EventSource: Source, url } = this.#options;
    if (!Source || !this.#isLeader || this.#events) return;
    const events = new Source(url);
    this.#events = events;
    this.#openedAt = Number.POSITIVE_INFINITY;
    events.addEventListener("flags", () => this.#onChanged());
    events.onopen = () => {
      this.#openedAt = performance.now();
      this.#schedulePoll();
    };
    events.onerror = () => {
      if (this.#events !== events) return;
      // By itself a browser would come back at a fixed pace, and all of them at once.
      events.close();
      this.#events = null;
      if (performance.now() - this.#openedAt > HEALTHY_AFTER_MS) this.#attempt = 0;
      this.#schedulePoll();
    };
  }

  /**
   * The leader has evaluated the flags. Where this tab cannot use that evaluation it asks by itself, a hidden one when it is
   * shown; what it is answered it keeps to itself, or two users' tabs would tell each other for ever.
   */
  #onTold(evaluation: unknown): void {
    if (!this.#options.adopt(evaluation)) {
      if (this.#candidacy && !this.#isLeader) this.#onChanged();
      return;
    }
    clearTimeout(this.#jitter);
    this.#isOutdated = false;
  }

  /** The flags have changed: ask soon. */
  #onChanged(): void {
    clearTimeout(this.#jitter);
    this.#isOutdated = true;
    this.#jitter = setTimeout(() => void this.#poll(), Math.random() * EVENT_JITTER_MS);
  }

  /** Schedule the next poll: slowly while an event stream is open, here or in another tab, in case an event was lost. */
  #schedulePoll(retryAfterMs: number | null = 0): void {
    clearTimeout(this.#timer);
    if (!this.#candidacy) return;
    const isTold = !this.#isOutdated && (!this.#isLeader || this.#events?.readyState === 1);
    const wait = isTold ? SLOW_POLL_MS : Math.min(SLOW_POLL_MS, this.#options.pollMs * 2 ** this.#attempt);
    this.#timer = setTimeout(() => void this.#poll(), Math.max(wait * (0.75 + Math.random() / 2), retryAfterMs ?? 0));
  }

  async #poll(): Promise<void> {
    const wasOutdated = this.#isOutdated;
    const { ok, changed, retryAfterMs } = await this.#options.refresh();
    if (ok && wasOutdated) this.#isOutdated = false;
    if (ok && this.#isLeader && (wasOutdated || changed)) this.#channel?.postMessage(this.#options.evaluation());
    // Who wants no event stream has chosen to poll, and goes on at that pace for as long as it is answered.
    const works = this.#options.EventSource ? this.#events?.readyState === 1 && !this.#isOutdated : ok;
    this.#attempt = works ? 0 : this.#attempt + 1;
    this.#openEvents();
    this.#schedulePoll(retryAfterMs);
  }
}
