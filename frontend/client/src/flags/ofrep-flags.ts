/**
 * Flags over OpenFeature's remote evaluation protocol (OFREP 0.3): evaluated by the BFF, evaluated again on its
 * server-sent event or by polling, stored for the next visit, and overridden for this browser alone.
 */

import { isObject, parseRetryAfter } from "../errors.ts";
import { Emitter } from "../lib/observable.ts";
import { randomId } from "../lib/random-id.ts";
import type { FlagDetails, FlagKey, FlagSource, Group, Side } from "../types.ts";
import { browserTabs, FlagWatch, type RefreshResult, type Tabs } from "./flag-watch.ts";

export const FLAG_KEYS: readonly FlagKey[] = ["bff", "chart_data", "run_data", "websocket"];
const POLL_MS = 1000;
const TIMEOUT_MS = 3000;

export interface OfrepOptions {
  baseUrl?: string;
  /** Who this is, for percentages that stay the same for one user; a random one is kept in the browser else. */
  targetingKey?: string;
  fetch?: typeof fetch;
  /** null: no event stream, poll only. */
  EventSource?: typeof EventSource | null;
  storage?: Pick<Storage, "getItem" | "setItem"> | null;
  /** How soon to ask again where an event stream is wanted and refused, doubling to 30 s; how often where none is. Default 1000. */
  pollMs?: number;
  /** How long an evaluation may take until what was known last goes on to count. Default 3000. */
  timeoutMs?: number;
  /** What this browser's tabs share: one event stream, and the switches. null: nothing. */
  tabs?: Tabs | null;
  headers?: () => Record<string, string>;
}

type FlagState = Pick<FlagDetails, "value" | "variant" | "reason" | "evaluation" | "source">;
interface StoredFlags {
  key?: string;
  flags?: Record<string, FlagState>;
  overrides?: Record<string, boolean>;
}

/** What a tab tells the others of its evaluation, which is theirs if they have the same targeting key. */
interface SharedEvaluation {
  key: string | undefined;
  flags: Record<string, FlagState>;
  etag: string | null;
}

const STORAGE_KEY = "bff-flags";

/**
 * Flags of this browser, evaluated by the BFF. Call `start()` before the first call of a client, and `close()` at the end.
 *
 * @example
 * const flags = new OfrepFlags();
 * await flags.start();
 * const client = createClient({ flags });
 */
export class OfrepFlags implements FlagSource {
  readonly #options: OfrepOptions;
  readonly #storage: Pick<Storage, "getItem" | "setItem"> | null;
  readonly #changed = new Emitter<void>();
  #stored: StoredFlags;
  #flags: Record<string, FlagState> = {};
  #etag: string | null = null;
  #watch: FlagWatch | undefined;
  #unlisten: (() => void) | undefined;
  #refreshing: Promise<RefreshResult> | null = null;
  #refreshAgain = false;
  #closed = false;

  constructor(options: OfrepOptions = {}) {
    this.#options = options;
    this.#storage = options.storage === undefined ? browserStorage() : options.storage;
    this.#stored = this.#readStorage();
    for (const [key, flag] of Object.entries(this.#stored.flags ?? {}))
      this.#flags[key] = { ...flag, evaluation: "CACHED", source: "cache" };
    this.#stored.key ??= options.targetingKey ?? randomId();
    this.#writeStorage({});
  }

  side(group: Group): Side {
    return this.#value("bff") && this.#value(group) ? "bff" : "legacy";
  }

  details(): FlagDetails[] {
    return FLAG_KEYS.map((key) => ({
      key,
      variant: null,
      reason: "unknown",
      evaluation: "DEFAULT",
      source: "default",
      ...this.#flags[key],
      value: this.#value(key),
      overridden: this.#stored.overrides?.[key] !== undefined,
    }));
  }

  override(key: FlagKey, value: boolean | undefined): void {
    const { [key]: _, ...others } = this.#readStorage().overrides ?? this.#stored.overrides ?? {};
    this.#writeStorage({ overrides: value === undefined ? others : { ...others, [key]: value } });
    this.#changed.emit();
  }

  subscribe(listener: () => void): () => void {
    return this.#changed.subscribe(listener);
  }

  async start(): Promise<void> {
    this.#closed = false;
    const {
      baseUrl = "",
      EventSource = globalThis.EventSource,
      tabs = browserTabs(),
      pollMs = POLL_MS,
    } = this.#options;
    this.#unlisten ??= tabs?.on("storage", () => this.#onStorage());
    await this.#refresh();
    if (this.#closed || this.#watch) return;
    this.#watch = new FlagWatch({
      url: `${baseUrl}/api/v1/flags/events`,
      EventSource,
      tabs,
      pollMs,
      refresh: () => this.#refresh(),
      evaluation: (): SharedEvaluation => ({ key: this.#stored.key, flags: this.#flags, etag: this.#etag }),
      adopt: (evaluation) => this.#adopt(evaluation),
    });
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
    this.#watch = undefined;
    this.#unlisten?.();
    this.#unlisten = undefined;
  }

  #value(key: string): boolean {
    return this.#stored.overrides?.[key] ?? this.#flags[key]?.value ?? false;
  }

  /** Apply overrides that another tab has stored. */
  #onStorage(): void {
    const { overrides } = this.#readStorage();
    if (JSON.stringify(overrides) === JSON.stringify(this.#stored.overrides)) return;
    this.#stored = { ...this.#stored, overrides: overrides ?? {} };
    this.#changed.emit();
  }

  /** Evaluate now; a call during an evaluation is answered by one more round, which sees what changed meanwhile. */
  async #refresh(): Promise<RefreshResult> {
    if (this.#refreshing) {
      this.#refreshAgain = true;
      return this.#refreshing;
    }
    this.#refreshing = (async () => {
      for (let changed = false; ; ) {
        this.#refreshAgain = false;
        const asked = await this.#evaluate();
        changed ||= asked.changed;
        if (!this.#refreshAgain || this.#closed) return { ...asked, changed };
      }
    })();
    try {
      return await this.#refreshing;
    } finally {
      this.#refreshing = null;
    }
  }

  async #evaluate(): Promise<RefreshResult> {
    const send = this.#options.fetch ?? ((input, init) => fetch(input, init));
    try {
      const response = await send(`${this.#options.baseUrl ?? ""}/ofrep/v1/evaluate/flags`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(this.#etag && { "if-none-match": this.#etag }),
          ...this.#options.headers?.(),
        },
        body: JSON.stringify({ context: { targetingKey: this.#stored.key } }),
        signal: AbortSignal.timeout(this.#options.timeoutMs ?? TIMEOUT_MS),
      });
      if (response.status !== 200) {
        await response.body?.cancel();
        const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
        return { ok: response.status === 304, changed: false, retryAfterMs };
      }
      const flags = parseEvaluation(await response.json());
      this.#etag = response.headers.get("etag");
      return { ok: true, changed: this.#apply(flags), retryAfterMs: null };
    } catch {
      // What was known last goes on to count.
      return { ok: false, changed: false, retryAfterMs: null };
    }
  }

  /** Take over what another tab has evaluated, unless it is for another user. */
  #adopt(evaluation: unknown): boolean {
    if (!isObject(evaluation) || evaluation["key"] !== this.#stored.key) return false;
    const { flags, etag } = evaluation as unknown as SharedEvaluation;
    this.#etag = etag;
    this.#apply(flags);
    return true;
  }

  /** Apply evaluated flags; returns whether any of them changed. */
  #apply(flags: Record<string, FlagState>): boolean {
    const before = JSON.stringify(this.#flags);
    this.#flags = flags;
    if (JSON.stringify(flags) === before || this.#closed) return false;
    this.#writeStorage({ flags });
    this.#changed.emit();
    return true;
  }

  #readStorage(): StoredFlags {
    try {
      const memory = JSON.parse(this.#storage?.getItem(STORAGE_KEY) ?? "{}");
      return isObject(memory) ? memory : {};
    } catch {
      return {};
    }
  }

  /** Store a change, on top of what other tabs have stored. */
  #writeStorage(change: StoredFlags): void {
    this.#stored = { ...this.#stored, ...this.#readStorage(), ...change };
    try {
      this.#storage?.setItem(STORAGE_KEY, JSON.stringify(this.#stored));
    } catch {
      // Full or forbidden: the next visit begins without.
    }
  }
}

/** Return the flags of an OFREP bulk evaluation that could be evaluated. */
function parseEvaluation(answer: unknown): Record<string, FlagState> {
  const flags = isObject(answer) && Array.isArray(answer["flags"]) ? answer["flags"] : [];
  const known: Record<string, FlagState> = {};
  for (const flag of flags.filter(isObject)) {
    const { key, value, variant, reason, metadata } = flag;
    if (typeof key !== "string" || typeof value !== "boolean") continue;
    const details = isObject(metadata) ? metadata : {};
    const evaluation = typeof reason === "string" ? reason : "UNKNOWN";
    known[key] = {
      value,
      variant: typeof variant === "string" ? variant : null,
      reason: typeof details["reason"] === "string" ? details["reason"] : evaluation,
      evaluation,
      source: typeof details["source"] === "string" ? details["source"] : "file",
    };
  }
  return known;
}

function browserStorage(): Storage | null {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}
