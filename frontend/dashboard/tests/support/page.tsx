/** The whole page at an address, over a client and flags that a test scripts. */

import { type QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, render } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import type {
  Client,
  FlagDetails,
  FlagKey,
  FlagSource,
  Frame,
  RunStream,
  Standing,
  StreamEvents,
  StreamOptions,
  StreamState,
  View,
} from "bff-client";
import { Emitter } from "bff-client/lib/observable";
import { vi } from "vitest";
import { SessionContext } from "../../src/api/context.ts";
import { createQueryClient } from "../../src/api/queries.ts";
import { App } from "../../src/app.tsx";
import { navigate } from "../../src/lib/navigation.ts";
import { parseRoute } from "../../src/lib/route.ts";
import { chart, completeRun, listedRun, page } from "./data.ts";

export const never = <T,>() => new Promise<T>(() => {});

/** A promise that a test settles. */
export function deferred<T>() {
  let resolve: (value: T) => void = () => undefined;
  let reject: (reason: unknown) => void = () => undefined;
  const promise = new Promise<T>((whenDone, whenFailed) => {
    resolve = whenDone;
    reject = whenFailed;
  });
  return { promise, resolve, reject };
}

/** A client whose calls answer with good data unless a test says otherwise. */
export function fakeClient(calls: Partial<Client> = {}) {
  const { listRuns, createRun, getRun, getChart, getView, openStream } = calls;
  return {
    listRuns: vi.fn<Client["listRuns"]>(listRuns ?? (async () => page([listedRun("a")]))),
    createRun: vi.fn<Client["createRun"]>(createRun ?? (async () => ({ run_id: "new", status: "QUEUED" }))),
    getRun: vi.fn<Client["getRun"]>(getRun ?? (async (id) => completeRun(id))),
    getChart: vi.fn<Client["getChart"]>(getChart ?? (async () => chart())),
    getView: vi.fn<Client["getView"]>(getView ?? ((id) => view({ run: Promise.resolve(completeRun(id)) }))),
    openStream: vi.fn<Client["openStream"]>(openStream ?? ((id, options) => new FakeStream(id, options))),
    on: () => () => undefined,
    close: () => undefined,
  } satisfies Client;
}

/** A view whose parts are there, will be, or have failed. */
export function view(parts: Partial<View>): View {
  const { run = never(), head = never(), chart: drawn = Promise.resolve(chart()) } = parts;
  for (const part of [run, head, drawn]) part.catch(() => undefined);
  return { run, head, chart: drawn };
}

/** A stream that says what a test has it say. */
export class FakeStream implements RunStream {
  readonly id: string;
  position = { epoch: null, seq: -1, ts: null };
  state: StreamState;
  readonly play = vi.fn();
  readonly pause = vi.fn();
  readonly seek = vi.fn();
  readonly speed = vi.fn();
  readonly fps = vi.fn();
  readonly bar = vi.fn();
  readonly step = vi.fn();
  readonly close = vi.fn();
  readonly #events: { [K in keyof StreamEvents]: Emitter<StreamEvents[K]> } = {
    frame: new Emitter<StreamEvents["frame"]>(),
    standing: new Emitter<StreamEvents["standing"]>(),
    state: new Emitter<StreamEvents["state"]>(),
    hello: new Emitter<StreamEvents["hello"]>(),
    end: new Emitter<StreamEvents["end"]>(),
    error: new Emitter<StreamEvents["error"]>(),
  };

  constructor(id: string, { speed = 60, fps = 30, bar = null }: StreamOptions = {}) {
    this.id = id;
    this.state = {
      connection: "connecting",
      side: "bff",
      playing: false,
      ended: false,
      speed,
      fps,
      bar,
      total: 100,
      from: null,
      to: null,
      dropped: 0,
      retryMs: null,
    };
  }

  on<K extends keyof StreamEvents>(type: K, listener: (event: StreamEvents[K]) => void): () => void {
    return this.#events[type].subscribe(listener);
  }

  /** Change the state, as the page hears of it. */
  becomes(change: Partial<StreamState>): void {
    this.state = { ...this.state, ...change };
    act(() => this.#events.state.emit(this.state));
  }

  plays(frame: Pick<Frame, "seq" | "n" | "ts"> & Partial<Frame>): void {
    const bar = { o: 10, h: 12, l: 9, c: 11, v: 100 };
    act(() =>
      this.#events.frame.emit({ t: "frame", orders: [], ohlc: bar, equity: { value: 1000 }, ...frame } as Frame),
    );
  }

  stands(standing: Standing): void {
    act(() => this.#events.standing.emit(standing));
  }

  fails(error: StreamEvents["error"]): void {
    act(() => this.#events.error.emit(error));
  }
}

export class FakeFlags implements FlagSource {
  readonly #changed = new Emitter<void>();
  readonly #overrides = new Map<FlagKey, boolean>();

  side(): "bff" {
    return "bff";
  }

  details(): FlagDetails[] {
    return (["bff", "chart_data"] as const).map((key) => ({
      key,
      value: this.#overrides.get(key) ?? true,
      variant: null,
      reason: "STATIC",
      evaluation: "STATIC",
      source: "file",
      overridden: this.#overrides.has(key),
    }));
  }

  override(key: FlagKey, value: boolean | undefined): void {
    if (value === undefined) this.#overrides.delete(key);
    else this.#overrides.set(key, value);
    this.#changed.emit();
  }

  readonly subscribe = this.#changed.subscribe;
  start = () => Promise.resolve();
  close = () => undefined;
}

/** Show the page at an address; returns the user in front of it and what it asks through. */
export function openPage(address: string, client = fakeClient()) {
  navigate(parseRoute(address.slice(1)), true);
  const queries: QueryClient = createQueryClient();
  const flags = new FakeFlags();
  const shown = render(
    <QueryClientProvider client={queries}>
      <SessionContext value={{ client, flags }}>
        <App />
      </SessionContext>
    </QueryClientProvider>,
  );
  return { ...shown, client, flags, queries, user: userEvent.setup({ delay: null }) };
}
