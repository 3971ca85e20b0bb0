/** The client's public types: what goes in, what comes out, whichever side answers. */

import type { components, operations } from "./generated/aggregator.ts";
import type { components as stream } from "./generated/stream.ts";

type Schemas = components["schemas"];
type Messages = stream["schemas"];

/** A group of calls that a flag moves between the two sides. */
export type Group = "chart_data" | "run_data" | "websocket";
/** Where a call goes: to the BFF, or to the backend as it was before there was one. */
export type Side = "bff" | "legacy";
/** Names of the flags; `bff` is the master switch. */
export type FlagKey = "bff" | Group;

/** A flag as it stands for this browser. */
export interface FlagDetails {
  key: string;
  value: boolean;
  variant: string | null;
  /** Why it is so, in the words of who set it where there are any. */
  reason: string;
  /** The same in OpenFeature's words: STATIC, SPLIT, TARGETING_MATCH, DISABLED, CACHED, DEFAULT, ERROR. */
  evaluation: string;
  /** Where it was defined: `file`, `runtime`, `rollback`; `cache` or `default` while no evaluation is available. */
  source: string;
  /** Whether this browser's own switch is on top; `value` is the result of it. */
  overridden: boolean;
}

/** Tells the client which side a group of calls is on. */
export interface FlagSource {
  /** The side of a group now: BFF if the master and the group's flag are on. Legacy where nothing is known. */
  side(group: Group): Side;
  details(): FlagDetails[];
  /** Set a flag for this browser only; `undefined` takes that back. */
  override(key: FlagKey, value: boolean | undefined): void;
  /**
   * Call a listener whenever a flag's value may have changed.
   *
   * @returns how to unsubscribe.
   */
  subscribe(listener: () => void): () => void;
  /** Resolves once flags are known, or known to be out of reach. Never rejects. */
  start(): Promise<void>;
  close(): void;
}

export type CallName = "listRuns" | "createRun" | "getRun" | "getChart" | "getView" | "openStream";

/** What a call took: one for each call, and for each connection of a stream. */
export interface Report {
  call: CallName;
  /** `run_data` for a view, which `chart_data` has to be on for as well. */
  group: Group;
  /** The side that answered. */
  side: Side;
  /** HTTP requests and WebSocket connections. */
  requests: number;
  /** Bytes of the answers' bodies as they came over the wire where the browser tells, else after decompression. */
  bytes: number;
  ms: number;
  /** The answer's `Cache-Status`, or `revalidated` after a 304. */
  cache?: string;
  /** Legacy answered because the BFF failed, now or a moment ago; `error` is what it failed with. */
  fallback?: true;
  error?: { code: string; correlationId: string | null };
}

export interface ClientOptions {
  /** Where the origin is; the page's own by default. */
  baseUrl?: string;
  flags: FlagSource;
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket;
  /** Answer from legacy when the BFF is out of reach or defective; never when it says that the backend is. Default true. */
  fallback?: boolean;
  /** Longest silence of the BFF in a read, in milliseconds, before it counts as away. Default 5000. */
  readMs?: number;
  /** Milliseconds after which the BFF, once away, is looked for again; doubles, to a minute at most. Default 5000. */
  returnMs?: number;
  /** Check answers against the services' schemas; only development builds can. Default: whether this is one. */
  validate?: boolean;
  /** Further headers of every request, such as `Authorization`. */
  headers?: () => Record<string, string>;
  onReport?: (report: Report) => void;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface ChartOptions extends CallOptions {
  /**
   * Called with a coarse chart, of hours, while the backend still works on a long one of minutes (`metadata.preview`); the
   * call then resolves to the exact one. Of callers that share a request the first one's is called. The BFF alone has previews.
   */
  onPreview?: ((chart: Chart) => void) | undefined;
}

export interface ListOptions extends CallOptions {
  /**
   * Which of the runs are on the screen. Legacy has to ask for the metrics of each finished run by itself and does so for
   * these only; those of the others are `skipped` unless they are known already. All by default.
   */
  shown?: (runs: readonly ListedRun[]) => readonly ListedRun[];
}

/**
 * Calls to the side that the flags choose. Equal calls in flight share one request, which is aborted when all its callers have
 * aborted; treat results as read-only. Every call rejects with a `BffError`, or with the reason of its aborted `signal`.
 */
export interface Client {
  /** List runs, newest first unless `query.order` says otherwise. */
  listRuns(query?: RunQuery, options?: ListOptions): Promise<RunPage>;
  /**
   * Create a run. It is not retried; call it again with the same key if the response was lost.
   *
   * @param options.idempotencyKey - the same key creates one run only; random by default.
   */
  createRun(request: RunRequest, options?: CallOptions & { idempotencyKey?: string }): Promise<CreatedRun>;
  /**
   * Get a run with its metrics, equity and orders. A part that failed is null, and `metadata.parts` says why.
   *
   * @throws BffError `RUN_NOT_FOUND` for an unknown run.
   */
  getRun(id: string, options?: RunOptions): Promise<CompleteRun>;
  /**
   * Get the bars of a symbol, decimated to at most `query.targetPoints`.
   *
   * @throws BffError `DATASET_NOT_FOUND` for an unknown symbol or a range without data, `VALIDATION` for a bad query.
   */
  getChart(query: ChartQuery, options?: ChartOptions): Promise<Chart>;
  /**
   * Get all that a run's page shows, in one request.
   *
   * @returns at once: three promises, each settled by itself. One that nobody awaits rejects silently.
   */
  getView(id: string, query: ViewQuery, options?: ChartOptions): View;
  /** Open a playback. It is closed by `close()`, by `options.signal`, or by an `error` that is `fatal`. */
  openStream(id: string, options?: StreamOptions): RunStream;
  /**
   * Call a listener with the report of every call.
   *
   * @returns how to unsubscribe.
   */
  on(listener: (report: Report) => void): () => void;
  /** Close every stream and stop following the flags; the flag source stays open. */
  close(): void;
}

// ── Runs ──

type ListQuery = NonNullable<operations["list_runs_api_v1_runs_get"]["parameters"]["query"]>;
/** `from` and `to` are `YYYY-MM-DD`, UTC, included. */
export type RunQuery = { [K in keyof ListQuery]?: ListQuery[K] | undefined };

/** QUEUED, RUNNING, DONE, ERROR, CANCELLED, or what the backend says, in capitals. */
export type RunStatus = "QUEUED" | "RUNNING" | "DONE" | "ERROR" | "CANCELLED" | (string & {});
export type PartState = Schemas["State"];
export type Part = "metrics" | "equity" | "orders";

export type ListedRun = Omit<Schemas["ListedRun"], "status"> & { status: RunStatus };
/** `metadata.metrics_pending` finished runs have their metrics with a later request. */
export type RunPage = Pick<Schemas["RunPage"], "total" | "limit" | "offset" | "metadata"> & { items: ListedRun[] };

/** What to run: a dataset, or a symbol and a year. */
export interface RunRequest {
  strategy_id: string;
  params: Record<string, unknown>;
  dataset_id?: string;
  symbol?: string;
  year?: number;
  from?: string;
  to?: string;
  seed?: number;
  speed?: number;
  slippage_fees?: Record<string, unknown>;
}

export interface CreatedRun {
  run_id: string;
  /** EXISTS: the same key or the same inputs were sent before. */
  status: "QUEUED" | "EXISTS" | (string & {});
}

export interface RunOptions extends CallOptions {
  /** Parts to answer; all by default. */
  include?: readonly Part[] | undefined;
  /** Most points of equity; 2000 by default, 0 for all. */
  equityPoints?: number | undefined;
}

export type Run = Omit<Schemas["Run"], "status"> & { status: RunStatus };
/** Shares (0.1 is ten percent); null where unknown or undefined. Further metrics of the backend's are passed on as they are. */
export type RunMetrics = Schemas["RunMetrics"] & { [metric: string]: unknown };
/** `ts` is ISO 8601, UTC; drawdown is (peak - value) / peak. */
export type EquityPoint = Schemas["Point"];
export type Order = Schemas["Order"];
export type PartReport = Schemas["PartReport"];

/** A run with its parts; null where `metadata.parts` says that one is not there. */
export type CompleteRun = Omit<Schemas["CompleteRun"], "run" | "metrics" | "equity" | "orders" | "metadata"> & {
  run: Run;
  metrics: RunMetrics | null;
  equity: EquityPoint[] | null;
  orders: Order[] | null;
  metadata: Omit<Schemas["Metadata"], "parts"> & { parts: { run: PartReport } & Record<Part, PartReport> };
};

// ── Charts ──

/** What a bar covers, as the services' OpenAPI has it; `1M` is a minute. */
export type Timeframe = Exclude<operations["chart_data"]["parameters"]["query"]["timeframe"], "1M_DECIMATED">;

export interface ChartQuery {
  symbol: string;
  timeframe: Timeframe;
  /** `YYYY-MM-DD`, UTC, included. */
  from: string;
  to: string;
  /** 100 to 50,000; 10,000 by default. */
  targetPoints?: number | undefined;
  /** Regular trading hours only; true by default. */
  rthOnly?: boolean | undefined;
}

type ChartAnswer = operations["chart_data"]["responses"]["200"]["content"]["application/json"];
/** A chart as it comes over the wire: `format=columns`. */
export type WireChart = Extract<ChartAnswer, { t: number[] }>;
/** Columns of equal length, strictly ascending by `t`: the starts of the bars in UTC seconds. */
export type Columns = Pick<WireChart, "t" | "o" | "h" | "l" | "c" | "v">;
/** `metadata.stale`: some of it is past its freshness, because the backend is away. */
export type Chart = Pick<WireChart, "symbol" | "timeframe" | "from_date" | "to_date" | "metadata"> & {
  columns: Columns;
};

// ── Views ──

export interface ViewQuery {
  timeframe: Timeframe;
  /** `YYYY-MM-DD`, UTC, included; both or neither. Without them the chart is of the run's own window. */
  from?: string | undefined;
  to?: string | undefined;
  /** 100 to 50,000; 2,000 by default. */
  targetPoints?: number | undefined;
  /** Regular trading hours only; true by default. */
  rthOnly?: boolean | undefined;
  /** Most points of equity; 2000 by default, 0 for all. */
  equityPoints?: number | undefined;
  /** The run's symbol and window, where the page has them: single calls need not wait for one another then. */
  known?: { symbol: string; from: string; to: string } | undefined;
}

/** Where a run is; `progress` is 0 to 1 as far as the backend says, 1 when done. */
export type RunHead = Omit<Schemas["RunStatus"], "status"> & { status: RunStatus };

/** A run's page, part by part. What nobody waits for may fail unheard. */
export interface View {
  readonly head: Promise<RunHead>;
  readonly chart: Promise<Chart>;
  readonly run: Promise<CompleteRun>;
}

// ── Streams ──

export interface StreamOptions {
  /** 0.1 to 3,600; the run advances 30 × `speed` source frames a second. 60 by default. */
  speed?: number;
  /** 1 to 60 frames a second; 30 by default. */
  fps?: number;
  autoplay?: boolean;
  /** Have frames carry the bars that they touch, of this size; none by default. */
  bar?: BarSize | null | undefined;
  /** Go on after this frame. */
  at?: { epoch?: string | null; seq: number; ts?: string | null };
  signal?: AbortSignal;
}

export type Ohlc = Messages["Ohlc"];
/** `n` source frames up to index `seq`, merged. */
export type Frame = Omit<Messages["Frame"], "orders"> & { orders: StreamOrder[]; [field: string]: unknown };
export interface StreamOrder {
  [field: string]: unknown;
}
/** Minutes of a chart's bars, or `session`. */
export type BarSize = Messages["BarSize"];
/** A bar of the chart as far as it has come; `t` is its start in UTC seconds. Prices are null while no frame of it has any. */
export type Bar = Messages["Bar"];
/** What is true after a frame, so that what follows can be drawn from anywhere. */
export type Standing = Omit<Messages["Position"], "t">;
/** What the relay says over the wire. */
export type StreamMessage = Messages["StreamMessage"];

export interface Position {
  /** Names the version of the run's frames that `seq` counts in; null on the legacy side. */
  epoch: string | null;
  /** Index of the last frame that was shown; -1 before the first. */
  seq: number;
  ts: string | null;
}

export interface StreamState {
  /** `connecting` until frames can come; `waiting`: the run is not ready yet; `reconnecting`: out of frames, the other end is away. */
  connection: "connecting" | "live" | "waiting" | "reconnecting" | "draining" | "closed";
  side: Side;
  playing: boolean;
  ended: boolean;
  speed: number;
  fps: number;
  /** Size of the bars asked for; null for none. */
  bar: BarSize | null;
  /** Source frames of the run; null until that is known. */
  total: number | null;
  /** Times of the run's first and last frame as far as they are known. */
  from: string | null;
  to: string | null;
  dropped: number;
  /** Milliseconds until the next try, while there is one to come. */
  retryMs: number | null;
}

export interface StreamEvents {
  frame: Frame;
  /** With `bar`: on each connection, and before the first frame after a seek or with bars of another size. */
  standing: Standing;
  /** Whenever anything of the state is different. */
  state: StreamState;
  /** Each time frames are about to come from a new connection or epoch. */
  hello: {
    epoch: string | null;
    seq: number;
    total: number | null;
    from: string | null;
    to: string | null;
    side: Side;
  };
  end: { position: Position };
  /** A refused control, or why the stream is over (then `fatal`). */
  error: { code: string; message: string; details?: unknown; fatal: boolean };
}

/**
 * A playback of a run. It stays the same object while it reconnects or changes sides. Controls given without a connection take
 * effect on the next one, the last of each kind; after `close()` they do nothing.
 */
export interface RunStream {
  readonly id: string;
  readonly position: Position;
  readonly state: StreamState;
  /**
   * Add a listener. One that throws is logged to the console and affects nothing else.
   *
   * @returns how to unsubscribe.
   */
  on<K extends keyof StreamEvents>(type: K, listener: (event: StreamEvents[K]) => void): () => void;
  /** Play on; after the end, from the first frame. */
  play(): void;
  pause(): void;
  /** A frame's index, or a time: the nearest frame is shown at once, alone. */
  seek(to: number | string | Date): void;
  /** Set the speed, 0.1 to 3,600: `30 * value` source frames a second. */
  speed(value: number): void;
  /** Set the frames a second, 1 to 60. */
  fps(value: number): void;
  /** Have frames carry bars of another size; null for none. A `standing` of that size comes before them. */
  bar(size: BarSize | null): void;
  /** Show the frame after or before; playing stops. */
  step(by: 1 | -1): void;
  close(): void;
}
