/** Many tabs, servers that refuse, and clocks that a test turns. */

import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { FlagWatch, type RefreshResult, type Tabs } from "../../../src/flags/flag-watch.ts";
import { OfrepFlags } from "../../../src/index.ts";

const KNOWN: RefreshResult = { ok: true, changed: false, retryAfterMs: null };

/** An event stream that a test opens, feeds and breaks. */
class Events extends EventTarget {
  static all: Events[] = [];
  readonly url: string;
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;

  constructor(url: string) {
    super();
    this.url = url;
    Events.all.push(this);
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  fail(): void {
    this.readyState = 2;
    this.onerror?.();
  }

  close(): void {
    this.readyState = 2;
  }

  static get live(): Events[] {
    return Events.all.filter(({ readyState }) => readyState !== 2);
  }
}

/** A browser with as many tabs as a test opens. */
class BrowserOfTests {
  readonly #waiting: { signal: AbortSignal; begin: () => Promise<void> | undefined }[] = [];
  readonly #channels = new Set<{ onmessage: ((event: MessageEvent) => void) | null }>();
  #isHeld = false;
  withLocks = true;
  readonly stored = new Map<string, string>();
  readonly storage = {
    getItem: (key: string) => this.stored.get(key) ?? null,
    setItem: (key: string, value: string) => this.stored.set(key, value),
  };

  tab(): Tabs & { show(visible: boolean): void; written(): void } {
    const listeners = { visibilitychange: new Set<() => void>(), storage: new Set<() => void>() };
    const request = (_: string, { signal }: { signal: AbortSignal }, begin: () => Promise<void> | undefined) =>
      new Promise<void>((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        this.#waiting.push({ signal, begin: () => begin()?.then(resolve) });
        void this.#grant();
      });
    let visible = true;
    return {
      locks: this.withLocks ? ({ request } as unknown as Pick<LockManager, "request">) : undefined,
      isVisible: () => visible,
      channel: () => {
        const own = {
          onmessage: null,
          close: () => this.#channels.delete(own),
          postMessage: (data: unknown) => this.#post(own, data),
        };
        this.#channels.add(own);
        return own;
      },
      on: (type, listener) => {
        listeners[type].add(listener);
        return () => listeners[type].delete(listener);
      },
      show: (now) => {
        visible = now;
        for (const listener of listeners.visibilitychange) listener();
      },
      written: () => {
        for (const listener of listeners.storage) listener();
      },
    };
  }

  #post(from: object, data: unknown): void {
    for (const channel of this.#channels) {
      if (channel !== from) channel.onmessage?.(new MessageEvent("message", { data: structuredClone(data) }));
    }
  }

  async #grant(): Promise<void> {
    await Promise.resolve();
    if (this.#isHeld) return;
    const next = this.#waiting.shift();
    if (!next) return;
    if (!next.signal.aborted) {
      this.#isHeld = true;
      await next.begin();
      this.#isHeld = false;
    }
    void this.#grant();
  }
}

/** Watch in a tab of a user, who can use the evaluations of their own tabs only. */
function watching(tabs: Tabs | null, ask: () => Promise<RefreshResult> = async () => KNOWN, user = "one") {
  const asked = vi.fn(ask);
  const adopted = vi.fn((evaluation: unknown) => evaluation === user);
  const EventSource = Events as unknown as typeof globalThis.EventSource;
  const options = { url: "/events", EventSource, tabs, pollMs: 1000, refresh: asked };
  const watch = new FlagWatch({ ...options, evaluation: () => user, adopt: adopted });
  onTestFinished(() => watch.close());
  return { watch, asked, adopted };
}

const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  Events.all = [];
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Let the jitter after an event pass. */
const spread = () => vi.advanceTimersByTimeAsync(200);

test("ten tabs hold one event stream, and after a change one of them asks for all, hidden ones included", async () => {
  const browser = new BrowserOfTests();
  const tabs = Array.from({ length: 10 }, () => browser.tab());
  const watches = tabs.map((tab) => watching(tab));
  await settle();
  for (const tab of tabs.slice(5)) tab.show(false);
  expect(Events.all).toHaveLength(1);
  Events.all[0]?.open();
  Events.all[0]?.dispatchEvent(new Event("flags"));
  await spread();
  expect(watches.map(({ asked }) => asked.mock.calls.length)).toEqual([1, ...Array(9).fill(0)]);
  expect(watches.map(({ adopted }) => adopted.mock.results.map(({ value }) => value))).toEqual([
    [],
    ...Array(9).fill([true]),
  ]);
});

test("where each tab hears of a change by itself the first to ask tells the others, and they do not ask", async () => {
  const browser = new BrowserOfTests();
  browser.withLocks = false;
  const watches = Array.from({ length: 10 }, () => watching(browser.tab()));
  await settle();
  for (const events of Events.live) events.open();
  for (const events of Events.live) events.dispatchEvent(new Event("flags"));
  await spread();
  expect(watches.reduce((sum, { asked }) => sum + asked.mock.calls.length, 0)).toBe(1);
});

test("tabs of another user ask by themselves, once, spread; hidden ones when they are shown", async () => {
  const browser = new BrowserOfTests();
  const at: number[] = [];
  const ask = async () => {
    at.push(Date.now());
    return KNOWN;
  };
  watching(browser.tab());
  const hidden = browser.tab();
  const others = [...Array.from({ length: 5 }, () => browser.tab()), hidden];
  for (const tab of others) watching(tab, ask, "another");
  await settle();
  hidden.show(false);
  Events.all[0]?.dispatchEvent(new Event("flags"));
  await vi.advanceTimersByTimeAsync(5000);
  expect(at).toHaveLength(5);
  expect(new Set(at).size).toBeGreaterThan(1);
  hidden.show(true);
  await settle();
  expect(at).toHaveLength(6);
});

test("a change whose flags cannot be had is asked for again soon, though the stream is open", async () => {
  const browser = new BrowserOfTests();
  let ok = false;
  const leader = watching(browser.tab(), async () => ({ ok, changed: ok, retryAfterMs: null }));
  const other = watching(browser.tab());
  await settle();
  Events.all[0]?.open();
  Events.all[0]?.dispatchEvent(new Event("flags"));
  await spread();
  expect([leader.asked.mock.calls.length, other.adopted.mock.calls.length]).toEqual([1, 0]);
  ok = true;
  await vi.advanceTimersByTimeAsync(2600);
  expect([leader.asked.mock.calls.length, other.adopted.mock.calls.length]).toEqual([2, 1]);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(leader.asked).toHaveBeenCalledTimes(2);
});

test("when the tab that holds the stream is closed or hidden another takes over at once", async () => {
  const browser = new BrowserOfTests();
  const tabs = [browser.tab(), browser.tab(), browser.tab()];
  const [first] = tabs.map((tab) => watching(tab).watch);
  await settle();
  first?.close();
  await settle();
  expect([Events.all.length, Events.live.length]).toEqual([2, 1]);
  tabs[1]?.show(false);
  await settle();
  expect([Events.all.length, Events.live.length]).toEqual([3, 1]);
  tabs[2]?.show(false);
  await settle();
  expect(Events.live).toHaveLength(0);
});

test("a hidden tab asks nothing by itself, and asks when it is shown", async () => {
  const tab = new BrowserOfTests().tab();
  const { asked } = watching(tab);
  tab.show(false);
  await vi.advanceTimersByTimeAsync(600_000);
  expect([asked.mock.calls.length, Events.live.length]).toEqual([0, 0]);
  tab.show(true);
  await settle();
  expect([asked.mock.calls.length, Events.live.length]).toEqual([1, 1]);
});

test("without locks each tab that is seen listens by itself, and a hidden one does not", async () => {
  const browser = new BrowserOfTests();
  browser.withLocks = false;
  const tabs = [browser.tab(), browser.tab(), browser.tab()];
  for (const tab of tabs) watching(tab);
  await settle();
  expect(Events.live).toHaveLength(3);
  tabs[0]?.show(false);
  expect(Events.live).toHaveLength(2);
});

test("a change that a poll finds is told to the other tabs too", async () => {
  const browser = new BrowserOfTests();
  let changed = false;
  const leader = watching(browser.tab(), async () => ({ ...KNOWN, changed }));
  const other = watching(browser.tab());
  await settle();
  changed = true;
  await vi.advanceTimersByTimeAsync(1500);
  expect(leader.asked).toHaveBeenCalledOnce();
  expect(other.adopted).toHaveBeenCalledOnce();
  expect(other.asked).not.toHaveBeenCalled();
});

test("where event streams are refused polls and tries grow from 1 to 30 s, and never fall into step", async () => {
  const at: number[] = [];
  const since = Date.now();
  watching(null, async () => {
    at.push(Date.now() - since);
    return KNOWN;
  });
  for (let i = 0; i < 400; i++) {
    for (const events of Events.live) events.fail();
    await vi.advanceTimersByTimeAsync(1000);
  }
  const gaps = at.map((time, index) => time - (at[index - 1] ?? 0));
  expect(gaps[0]).toBeLessThan(2300);
  expect(gaps.length).toBeLessThan(25);
  for (const gap of gaps.slice(7)) expect(gap).toBeGreaterThan(22_000);
  for (const gap of gaps) expect(gap).toBeLessThan(39_000);
  expect(new Set(gaps.slice(7)).size).toBeGreaterThan(3);
  expect(Events.all.length).toBeLessThan(26);
});

test("a stream that worked and breaks is tried again within two seconds, and after Retry-After where there is one", async () => {
  let retryAfterMs: number | null = null;
  const { asked } = watching(null, async () => ({ ok: retryAfterMs === null, changed: false, retryAfterMs }));
  Events.all[0]?.open();
  await vi.advanceTimersByTimeAsync(100_000);
  asked.mockClear();
  Events.all[0]?.fail();
  retryAfterMs = 20_000;
  await vi.advanceTimersByTimeAsync(1300);
  expect([asked.mock.calls.length, Events.all.length]).toEqual([1, 2]);
  retryAfterMs = 90_000;
  await vi.advanceTimersByTimeAsync(21_000);
  expect(asked).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(87_000);
  expect(asked).toHaveBeenCalledTimes(2);
  await vi.advanceTimersByTimeAsync(5000);
  expect(asked).toHaveBeenCalledTimes(3);
});

test("while a stream is open the flags are asked for now and then", async () => {
  const { asked } = watching(null);
  Events.all[0]?.open();
  await vi.advanceTimersByTimeAsync(300_000);
  expect(asked.mock.calls.length).toBeGreaterThan(7);
  expect(asked.mock.calls.length).toBeLessThan(14);
});

test("what one tab evaluates is the flags of the others too, with its tag", async () => {
  vi.useRealTimers();
  const browser = new BrowserOfTests();
  let value = false;
  const asked: (string | null)[] = [];
  const fetched = async (_: unknown, init?: RequestInit) => {
    asked.push(new Headers(init?.headers).get("if-none-match"));
    return new Response(JSON.stringify({ flags: [{ key: "bff", value }] }), { headers: { etag: String(value) } });
  };
  const made = () => {
    const flags = new OfrepFlags({
      tabs: browser.tab(),
      storage: browser.storage,
      EventSource: Events as unknown as typeof globalThis.EventSource,
      fetch: fetched as typeof fetch,
      pollMs: 60_000,
    });
    onTestFinished(() => flags.close());
    return flags;
  };
  const [one, other] = [made(), made()];
  await Promise.all([one.start(), other.start()]);
  value = true;
  Events.all[0]?.dispatchEvent(new Event("flags"));
  await expect.poll(() => other.details()[0]?.value).toBe(true);
  expect(one.details()[0]?.value).toBe(true);
  expect(asked).toHaveLength(3);
  await other.start();
  expect(asked[3]).toBe("true");
});

test("a switch of one tab is followed by the others, and no tab undoes another's", async () => {
  vi.useRealTimers();
  const browser = new BrowserOfTests();
  const all = ["bff", "chart_data", "run_data", "websocket"].map((key) => ({ key, value: true }));
  const fetched = async () => new Response(JSON.stringify({ flags: all }));
  const made = (tabs: Tabs) => {
    const flags = new OfrepFlags({ tabs, storage: browser.storage, EventSource: null, fetch: fetched, pollMs: 60_000 });
    onTestFinished(() => flags.close());
    return flags;
  };
  const tabs = [browser.tab(), browser.tab()] as const;
  const [one, other] = [made(tabs[0]), made(tabs[1])];
  await one.start();
  let told = 0;
  other.subscribe(() => told++);
  one.override("chart_data", false);
  // The other has not been told yet, and writes what it has learnt.
  await other.start();
  tabs[1].written();
  expect([other.side("chart_data"), other.side("run_data")]).toEqual(["legacy", "bff"]);
  expect(made(browser.tab()).side("chart_data")).toBe("legacy");
  const before = told;
  other.override("chart_data", undefined);
  tabs[0].written();
  expect([one.side("chart_data"), told]).toEqual(["bff", before + 1]);
});
