/**
 * A run being played. It keeps its position while its frames come from one side or the other: the side that takes over
 * connects first, then continues after the last frame shown.
 */

import { BffError } from "../errors.ts";
import type { BarSize, Position, RunStream, Side, StreamEvents, StreamOptions, StreamState } from "../types.ts";
import type { Control, Feed, FeedHost, FeedOptions } from "./feed.ts";
import { ObservedState } from "./observed-state.ts";
import { PendingControls } from "./pending-controls.ts";

export type MakeFeed = (options: FeedOptions, epoch: string | null) => Feed;

export interface StreamDependencies {
  baseUrl: string;
  WebSocket: typeof WebSocket;
  /** The side that the flags want now. */
  side(): Side;
  /** Whether the other side may stand in for one that fails. */
  fallback: boolean;
  feeds: Record<Side, MakeFeed>;
  /** Milliseconds after which a stream that fell back looks for the BFF. */
  returnMs: number;
  /** Whether the BFF answers. Never rejects. */
  isBack(): Promise<boolean>;
  opened(side: Side, ms: number, failed?: BffError): void;
  closed(stream: SwitchingStream): void;
}

interface Source {
  side: Side;
  feed: Feed;
  since: number;
  /** Whether it has been there, and goes on trying to be. */
  ready: boolean;
  /** Whether it has given up. */
  over?: true;
  failed?: BffError;
}

const MAX_RETURN_MS = 60_000;

export class SwitchingStream implements RunStream {
  readonly id: string;
  readonly #deps: StreamDependencies;
  readonly #observed: ObservedState;
  #epoch: string | null;
  /** Whose frames are shown, and who is being made ready to take over. */
  #source: Source;
  #next: Source | null = null;
  /** The side that has refused this run for good; it is not asked again before the flags want another one. */
  #refusedBy: Side | null = null;
  /** The side that the flags wanted last. */
  #wanted: Side;
  /** Controls that came while the one stands still for the other, or has no connection. */
  readonly #pending = new PendingControls();
  readonly #closing = new AbortController();
  #returning: ReturnType<typeof setTimeout> | undefined;
  #returns = 0;

  constructor(id: string, options: StreamOptions, deps: StreamDependencies) {
    this.id = id;
    this.#deps = deps;
    this.#wanted = deps.side();
    this.#observed = new ObservedState(options, this.#wanted);
    this.#epoch = this.position.epoch;
    this.#source = this.#open(this.#wanted);
    options.signal?.addEventListener("abort", () => this.close(), { once: true, signal: this.#closing.signal });
    if (options.signal?.aborted) this.close();
  }

  get position(): Position {
    return this.#observed.position;
  }

  get state(): StreamState {
    return this.#observed.state;
  }

  on<K extends keyof StreamEvents>(type: K, listener: (event: StreamEvents[K]) => void): () => void {
    return this.#observed.on(type, listener);
  }

  play(): void {
    // After the end both sides begin again from the first frame, whichever connection said it was over.
    if (this.state.ended) this.seek(0);
    this.#observed.set({ playing: true });
    this.#control({ cmd: "play" });
  }

  pause(): void {
    this.#observed.set({ playing: false });
    this.#control({ cmd: "pause" });
  }

  seek(to: number | string | Date): void {
    this.#observed.set({ ended: false });
    this.#control({ cmd: "seek", pos: to instanceof Date ? to.toISOString() : to });
  }

  speed(value: number): void {
    this.#observed.set({ speed: value });
    this.#control({ cmd: "speed", val: value });
  }

  fps(value: number): void {
    this.#observed.set({ fps: value });
    this.#control({ cmd: "fps", val: value });
  }

  bar(size: BarSize | null): void {
    this.#observed.set({ bar: size });
    this.#control({ cmd: "bar", val: size ?? "none" });
  }

  step(by: 1 | -1): void {
    this.#observed.set({ playing: false, ended: false });
    this.#control({ cmd: "step", val: by });
  }

  close(): void {
    if (this.#observed.isClosed) return;
    this.#next?.feed.close();
    this.#source.feed.close();
    this.#next = null;
    clearTimeout(this.#returning);
    this.#closing.abort();
    this.#observed.set({ connection: "closed", playing: false, retryMs: null });
    this.#deps.closed(this);
  }

  /** Ask the flags again which side it should be. */
  followFlags(): void {
    const side = this.#deps.side();
    if (this.#wanted !== side) this.#refusedBy = null;
    this.#wanted = side;
    if (!this.#observed.isClosed) this.#switchTo(side);
  }

  #switchTo(side: Side, failed?: BffError): void {
    if ((this.#next ?? this.#source).side === side || this.#refusedBy === side) return;
    this.#next?.feed.close();
    this.#next = null;
    if (this.#source.side === side) {
      this.#resume();
      return;
    }
    // The relay has to be given a position to continue from, which must not move meanwhile; the other way
    // round the buffer is filled first, which takes seconds that nobody has to wait for.
    if (side === "bff") this.#source.feed.send({ cmd: "pause" });
    this.#next = this.#open(side, failed);
  }

  /** Let the source go on that stood still for another, which is not needed any more. */
  #resume(): void {
    if (this.state.playing) this.#source.feed.send({ cmd: "play" });
    this.#flushControls();
  }

  #control(control: Control): void {
    if (this.#observed.isClosed) return;
    this.#pending.add(control);
    this.#flushControls();
  }

  /** Hand over the controls that were held, unless they would be lost. */
  #flushControls(): void {
    if (this.#next?.side === "bff" || !this.#source.feed.acceptsControls) return;
    for (const control of this.#pending.drain()) this.#source.feed.send(control);
  }

  /** While it is not on the side that the flags want, look for that one after a while, then more and more seldom. */
  #scheduleReturn(): void {
    const { side, fallback, isBack, returnMs } = this.#deps;
    clearTimeout(this.#returning);
    const away = () =>
      ![this.#source.side, this.#refusedBy].includes(side()) && !this.#next && !this.#observed.isClosed;
    if ((side() === "bff" && !fallback) || !away()) return;
    const wait = Math.min(MAX_RETURN_MS, returnMs * 2 ** this.#returns++) * (0.75 + Math.random() / 2);
    this.#returning = setTimeout(async () => {
      // The legacy side stands still while the relay is asked for a place, so it must be there to answer.
      if (side() === "legacy" || (await isBack())) this.followFlags();
      if (away()) this.#scheduleReturn();
    }, wait);
  }

  #open(side: Side, failed?: BffError): Source {
    const { baseUrl, WebSocket, feeds } = this.#deps;
    const source: Source = { side, feed: NO_FEED, since: performance.now(), ready: false, ...(failed && { failed }) };
    const current = () => this.#source === source && !this.#observed.isClosed;
    const host: FeedHost = {
      ready: (hello) => this.#onReady(source, hello),
      frame: (frame) => current() && this.#observed.showFrame(frame),
      standing: (standing) => current() && this.#observed.emit("standing", standing),
      status: (change) => current() && this.#observed.set(change),
      end: () => current() && this.#observed.showEnd(),
      error: (error) => (current() || this.#next === source) && this.#onError(source, error),
      failed: (error) => this.#onFailed(source, error),
      healthy: () => this.#onHealthy(source),
      epoch: (epoch) => {
        if (!current()) return;
        this.#epoch = epoch;
        this.#observed.setEpoch(epoch);
      },
      position: () => this.position,
      pace: () => ({ speed: this.state.speed, fps: this.state.fps, bar: this.state.bar }),
    };
    source.feed = feeds[side]({ id: this.id, baseUrl, WebSocket, host }, this.#epoch);
    if (!this.#source) source.feed.start(this.position, this.state.playing);
    return source;
  }

  #onReady(source: Source, hello: Parameters<FeedHost["ready"]>[0]): void {
    if (this.#observed.isClosed) return;
    const isNext = this.#next === source;
    if (!isNext && this.#source !== source) return;
    if (!source.ready) this.#deps.opened(source.side, performance.now() - source.since, source.failed);
    source.ready = true;
    if (isNext) {
      this.#source.feed.close();
      this.#source = source;
      this.#next = null;
    }
    // What legacy plays still counts in the relay's last epoch; a relay that names none may have another.
    if (source.side === "bff") this.#epoch = hello.epoch;
    this.#observed.setEpoch(hello.epoch);
    this.#observed.set({
      connection: "live",
      side: source.side,
      retryMs: null,
      total: hello.total ?? this.state.total,
      from: hello.from ?? this.state.from,
      to: hello.to ?? this.state.to,
    });
    this.#observed.emit("hello", { ...hello, seq: this.position.seq, side: source.side });
    if (isNext) source.feed.start(this.position, this.state.playing);
    this.#flushControls();
    this.#scheduleReturn();
  }

  #onHealthy(source: Source): void {
    if (this.#source !== source) return;
    if (this.#next && this.#deps.side() === source.side) {
      // It has come back by itself before the other could stand in for it.
      this.#next.feed.close();
      this.#next = null;
    }
    if (!this.#next) this.#returns = 0;
  }

  #onFailed(source: Source, error: BffError): void {
    const { fallback, side } = this.#deps;
    if (this.#observed.isClosed) return;
    if (this.#next === source) {
      // The side to change to does not answer: the one that does goes on until it does.
      if (source.side === "bff" && this.#source.ready && fallback) {
        source.feed.close();
        this.#next = null;
        this.#resume();
        this.#scheduleReturn();
      }
      return;
    }
    if (this.#source !== source || this.#next || !fallback) return;
    if (side() === "bff") this.#switchTo(source.side === "bff" ? "legacy" : "bff", error);
  }

  #onError(source: Source, error: StreamEvents["error"]): void {
    const fatal = error.fatal && !this.#survives(source, error);
    this.#observed.emit("error", { ...error, fatal });
    if (fatal) this.close();
  }

  /** Go on without a side that has given up, if the other one plays, or can; tell whether that is so. */
  #survives(source: Source, { code, message }: StreamEvents["error"]): boolean {
    const isNext = this.#next === source;
    // Code that cannot be loaded now may load later; a refusal is final.
    const refused = code !== "NETWORK";
    if (isNext && (this.#source.ready || !refused) && !this.#source.over) {
      source.feed.close();
      this.#next = null;
      if (refused) this.#refusedBy = source.side;
      this.#resume();
      this.#scheduleReturn();
      return true;
    }
    if (isNext || source.side !== "bff" || code !== "TOO_LARGE" || !this.#deps.fallback) return false;
    // The relay keeps runs up to a size; the page can keep a larger one.
    source.feed.close();
    source.over = true;
    this.#refusedBy = "bff";
    this.#switchTo("legacy", new BffError(code, message));
    return true;
  }
}

const NO_FEED: Feed = { acceptsControls: false, start: () => {}, send: () => {}, close: () => {} };
