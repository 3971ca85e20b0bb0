/**
 * Flags over OpenFeature's remote evaluation protocol (OFREP 0.2): evaluated at the BFF, learnt anew on its server-sent
 * event, by polling where that fails, remembered for the next visit, and overridden for this browser alone.
 */

import { isObject } from "./errors.ts";
import type { FlagDetails, FlagKey, FlagSource, Group, Side } from "./types.ts";

export const FLAG_KEYS: readonly FlagKey[] = ["bff", "chart_data", "run_data", "websocket"];
const POLL_MS = 1000;
const SLOW_POLL_MS = 30_000;
const TIMEOUT_MS = 3000;

export interface OfrepOptions {
  baseUrl?: string;
  /** Who this is, for percentages that stay the same for one user; a random one is kept in the browser else. */
  targetingKey?: string;
  fetch?: typeof fetch;
  /** null: no event stream, poll only. */
  EventSource?: typeof EventSource | null;
  storage?: Pick<Storage, "getItem" | "setItem"> | null;
  /** How often to ask while there is no event stream. */
  pollMs?: number;
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
  #events: EventSource | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: Promise<void> | null = null;
  #again = false;
  #closed = false;

  constructor(options: OfrepOptions = {}) {
    this.#options = options;
    this.#storage = options.storage === undefined ? browserStorage() : options.storage;
    this.#memory = this.#recall();
    for (const [key, flag] of Object.entries(this.#memory.flags ?? {}))
      this.#known[key] = { ...flag, evaluation: "CACHED", source: "cache" };
    this.#memory.key ??= options.targetingKey ?? randomKey();
    this.#remember();
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
    const { [key]: _, ...others } = this.#memory.overrides ?? {};
    this.#memory.overrides = value === undefined ? others : { ...others, [key]: value };
    this.#remember();
    this.#tell();
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async start(): Promise<void> {
    this.#closed = false;
    await this.#refresh();
    this.#listen();
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    this.#events?.close();
    this.#events = null;
    clearTimeout(this.#timer);
  }

  #value(key: string): boolean {
    return this.#memory.overrides?.[key] ?? this.#known[key]?.value ?? false;
  }

  #listen(): void {
    const Source = this.#options.EventSource === undefined ? globalThis.EventSource : this.#options.EventSource;
    if (!Source || this.#closed || this.#events) return;
    const events = new Source(`${this.#options.baseUrl ?? ""}/api/v1/flags/events`);
    this.#events = events;
    events.addEventListener("flags", () => void this.#refresh());
    events.onopen = () => this.#plan();
    events.onerror = () => {
      // A browser tries again by itself unless the answer was no event stream at all.
      if (events.readyState === Source.CLOSED && this.#events === events) this.#events = null;
      this.#plan();
    };
  }

  /** Poll every second while no event stream is open, else now and then, in case an event was lost. */
  #plan(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    const listening = this.#events?.readyState === 1;
    this.#timer = setTimeout(
      async () => {
        await this.#refresh();
        this.#listen();
        this.#plan();
      },
      listening ? SLOW_POLL_MS : (this.#options.pollMs ?? POLL_MS),
    );
  }

  /** Ask now; who asks while another is asking is answered by one more round, which sees what changed meanwhile. */
  async #refresh(): Promise<void> {
    if (this.#asking) {
      this.#again = true;
      return this.#asking;
    }
    this.#asking = (async () => {
      do {
        this.#again = false;
        await this.#ask();
      } while (this.#again && !this.#closed);
    })();
    try {
      await this.#asking;
    } finally {
      this.#asking = null;
    }
  }

  async #ask(): Promise<void> {
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
      if (response.status !== 200) return;
      const flags = read(await response.json());
      this.#etag = response.headers.get("etag");
      this.#learn(flags);
    } catch {
      // What was known last goes on to count.
    }
  }

  #learn(flags: Record<string, Known>): void {
    const before = JSON.stringify(this.#known);
    this.#known = flags;
    if (JSON.stringify(flags) === before || this.#closed) return;
    this.#memory.flags = flags;
    this.#remember();
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #recall(): Memory {
    try {
      const memory = JSON.parse(this.#storage?.getItem(NAME) ?? "{}");
      return isObject(memory) ? memory : {};
    } catch {
      return {};
    }
  }

  #remember(): void {
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
