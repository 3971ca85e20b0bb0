/**
 * Flags over OpenFeature's remote evaluation protocol (OFREP 0.3): evaluated at the BFF, learnt anew on its server-sent
 * event, by polling where that fails, remembered for the next visit, and overridden for this browser alone.
 */

import { isObject, retryAfterOf } from "../errors.ts";
import { tellAll } from "../lib/listeners.ts";
import type { FlagDetails, FlagKey, FlagSource, Group, Side } from "../types.ts";
import { type Asked, browserTabs, FlagWatch, type Tabs } from "./flag-watch.ts";

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
  /** What this browser's tabs share: one event stream, and the switches. null: nothing. */
  tabs?: Tabs | null;
  headers?: () => Record<string, string>;
}

type Known = Pick<FlagDetails, "value" | "variant" | "reason" | "evaluation" | "source">;
interface Memory {
  key?: string;
  flags?: Record<string, Known>;
  overrides?: Record<string, boolean>;
}

const NAME = "bff-flags";

export class OfrepFlags implements FlagSource {
  readonly #options: OfrepOptions;
  readonly #storage: Pick<Storage, "getItem" | "setItem"> | null;
  readonly #listeners = new Set<() => void>();
  #memory: Memory;
  #known: Record<string, Known> = {};
  #etag: string | null = null;
  #watch: FlagWatch | undefined;
  #unlisten: (() => void) | undefined;
  #asking: Promise<Asked> | null = null;
  #again = false;
  #closed = false;

  constructor(options: OfrepOptions = {}) {
    this.#options = options;
    this.#storage = options.storage === undefined ? browserStorage() : options.storage;
    this.#memory = this.#recall();
    for (const [key, flag] of Object.entries(this.#memory.flags ?? {}))
      this.#known[key] = { ...flag, evaluation: "CACHED", source: "cache" };
    this.#memory.key ??= options.targetingKey ?? randomKey();
    this.#remember({});
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
      ...this.#known[key],
      value: this.#value(key),
      overridden: this.#memory.overrides?.[key] !== undefined,
    }));
  }

  override(key: FlagKey, value: boolean | undefined): void {
    const { [key]: _, ...others } = this.#recall().overrides ?? this.#memory.overrides ?? {};
    this.#remember({ overrides: value === undefined ? others : { ...others, [key]: value } });
    tellAll(this.#listeners, undefined);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async start(): Promise<void> {
    this.#closed = false;
    const {
      baseUrl = "",
      EventSource = globalThis.EventSource,
      tabs = browserTabs(),
      pollMs = POLL_MS,
    } = this.#options;
    this.#unlisten ??= tabs?.on("storage", () => this.#follow());
    await this.#refresh();
    if (this.#closed || this.#watch) return;
    const ask = (): Promise<Asked> => this.#refresh();
    this.#watch = new FlagWatch({ url: `${baseUrl}/api/v1/flags/events`, EventSource, tabs, pollMs, ask });
  }

  close(): void {
    this.#closed = true;
    this.#watch?.close();
    this.#watch = undefined;
    this.#unlisten?.();
    this.#unlisten = undefined;
  }

  #value(key: string): boolean {
    return this.#memory.overrides?.[key] ?? this.#known[key]?.value ?? false;
  }

  /** Take over what another tab has switched. */
  #follow(): void {
    const { overrides } = this.#recall();
    if (JSON.stringify(overrides) === JSON.stringify(this.#memory.overrides)) return;
    this.#memory = { ...this.#memory, overrides: overrides ?? {} };
    tellAll(this.#listeners, undefined);
  }

  /** Ask now; who asks while another is asking is answered by one more round, which sees what changed meanwhile. */
  async #refresh(): Promise<Asked> {
    if (this.#asking) {
      this.#again = true;
      return this.#asking;
    }
    this.#asking = (async () => {
      for (let changed = false; ; ) {
        this.#again = false;
        const asked = await this.#ask();
        changed ||= asked.changed;
        if (!this.#again || this.#closed) return { ...asked, changed };
      }
    })();
    try {
      return await this.#asking;
    } finally {
      this.#asking = null;
    }
  }

  async #ask(): Promise<Asked> {
    const send = this.#options.fetch ?? ((input, init) => fetch(input, init));
    try {
      const response = await send(`${this.#options.baseUrl ?? ""}/ofrep/v1/evaluate/flags`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(this.#etag && { "if-none-match": this.#etag }),
          ...this.#options.headers?.(),
        },
        body: JSON.stringify({ context: { targetingKey: this.#memory.key } }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (response.status !== 200) {
        await response.body?.cancel();
        const retryAfterMs = retryAfterOf(response.headers.get("retry-after"));
        return { ok: response.status === 304, changed: false, retryAfterMs };
      }
      const flags = read(await response.json());
      this.#etag = response.headers.get("etag");
      return { ok: true, changed: this.#learn(flags), retryAfterMs: null };
    } catch {
      // What was known last goes on to count.
      return { ok: false, changed: false, retryAfterMs: null };
    }
  }

  /** Take over what the flags are now; tell whether anything is different. */
  #learn(flags: Record<string, Known>): boolean {
    const before = JSON.stringify(this.#known);
    this.#known = flags;
    if (JSON.stringify(flags) === before || this.#closed) return false;
    this.#remember({ flags });
    tellAll(this.#listeners, undefined);
    return true;
  }

  #recall(): Memory {
    try {
      const memory = JSON.parse(this.#storage?.getItem(NAME) ?? "{}");
      return isObject(memory) ? memory : {};
    } catch {
      return {};
    }
  }

  /** Note a change; what other tabs have written besides stays. */
  #remember(change: Memory): void {
    this.#memory = { ...this.#memory, ...this.#recall(), ...change };
    try {
      this.#storage?.setItem(NAME, JSON.stringify(this.#memory));
    } catch {
      // Full or forbidden: the next visit begins without.
    }
  }
}

/** Return the flags of an OFREP bulk evaluation that could be evaluated. */
function read(answer: unknown): Record<string, Known> {
  const flags = isObject(answer) && Array.isArray(answer["flags"]) ? answer["flags"] : [];
  const known: Record<string, Known> = {};
  for (const flag of flags.filter(isObject)) {
    const { key, value, variant, reason, metadata } = flag;
    if (typeof key !== "string" || typeof value !== "boolean") continue;
    const told = isObject(metadata) ? metadata : {};
    const evaluation = typeof reason === "string" ? reason : "UNKNOWN";
    known[key] = {
      value,
      variant: typeof variant === "string" ? variant : null,
      reason: typeof told["reason"] === "string" ? told["reason"] : evaluation,
      evaluation,
      source: typeof told["source"] === "string" ? told["source"] : "file",
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

function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("");
}
