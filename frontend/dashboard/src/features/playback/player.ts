/**
 * Playback outside of React: frames go into a candle book as they come and are drawn once per animation frame. React hears
 * of what changes rarely (connection, playing, speed), through `subscribe` and `snapshot`.
 *
 * Where playback jumps, or bars of another size are to come, the stream says first what is true there (`standing`): the
 * book begins anew with that, and the candles before it are the chart's.
 */

import type { Bar, BarSize, Client, Frame, RunStream, Standing, StreamState } from "bff-client";
import { Store } from "bff-client/lib/observable";
import { REGULAR_MINUTES } from "bff-client/lib/sessions";
import { isoTime, parseTime } from "bff-client/lib/time";
import type { PlaybackChart } from "../../charts/playback-chart.ts";
import { count } from "../../lib/format.ts";
import { newYork } from "../../lib/time.ts";
import { barMinutesFor, CandleBook, countFrame, emptyCounts, type FrameCounts, type Moment } from "./candle-book.ts";
import { fetchHistory } from "./history.ts";
import { Readouts } from "./readouts.ts";
import { type Extent, fractionOf, seekTarget } from "./seek-bar.ts";

export interface Snapshot extends StreamState {
  /** Why the last control was refused, or why the stream is over. */
  failure: string | undefined;
  minutes: number;
}

export interface PlayerOptions {
  id: string;
  symbol: string;
  from: number;
  to: number;
  speed: number;
  fps: number;
  bar: number;
  at: number | undefined;
  /** The position changed and stands, or has moved on for a while. */
  onPosition: (at: number) => void;
}

const REPORT_POSITION_MS = 2000;
const SETTLE_MS = 250;
/** Longest wait for the candles before the position; what comes later is put in front then. */
const HOLD_MS = 1500;

const sizeOf = (minutes: number) => (minutes >= REGULAR_MINUTES ? "session" : minutes) as BarSize;
const minutesOf = (size: BarSize) => (size === "session" ? REGULAR_MINUTES : size);

export class Player {
  readonly stream: RunStream;
  readonly subscribe: (listener: () => void) => () => void;
  readonly snapshot: () => Snapshot;
  counts: FrameCounts = emptyCounts();
  private readonly client: Client;
  private readonly options: PlayerOptions;
  private book: CandleBook;
  private readonly state: Store<Snapshot>;
  private bar: number;
  private chart: PlaybackChart | undefined;
  private readouts: Readouts | undefined;
  private animationFrame = 0;
  private at: number | undefined;
  private lastFrame: Frame | undefined;
  private peak = Number.NEGATIVE_INFINITY;
  /** A control was sent after which the next frame need not follow on the last one. */
  private jumping = false;
  private epoch: string | null = null;
  private holdUntil = 0;
  private history: AbortController | undefined;
  private settling: ReturnType<typeof setTimeout> | undefined;
  private lastReported = 0;
  private readonly unsubscribe: (() => void)[];

  constructor(client: Client, options: PlayerOptions) {
    this.client = client;
    this.options = options;
    this.bar = options.bar;
    this.book = new CandleBook(options.bar || barMinutesFor(options.speed, options.fps));
    const { speed, fps } = options;
    this.stream = client.openStream(options.id, { speed, fps, bar: sizeOf(this.book.minutes) });
    this.state = new Store<Snapshot>({ ...this.stream.state, failure: undefined, minutes: this.book.minutes });
    this.subscribe = this.state.subscribe;
    this.snapshot = this.state.get;
    this.unsubscribe = [
      this.stream.on("frame", (onFrame) => this.frame(onFrame)),
      this.stream.on("standing", (standing) => this.standAt(standing)),
      this.stream.on("state", (state) => this.publish({ ...this.snapshot(), ...state })),
      this.stream.on("end", () => this.redraw()),
      this.stream.on("error", ({ code, message }) =>
        this.publish({ ...this.snapshot(), failure: `${code}: ${message}` }),
      ),
      this.stream.on("hello", ({ epoch, seq }) => this.onHello(epoch, seq)),
    ];
    if (options.at !== undefined) this.seek(isoTime(options.at));
  }

  /** Draw into a chart, and write into the elements under `root`. */
  attach(chart: PlaybackChart, root: HTMLElement): void {
    this.chart = chart;
    this.readouts = new Readouts(root);
    this.book.rebuilt = true;
    this.redraw();
  }

  detach(): void {
    this.chart = undefined;
    this.readouts = undefined;
    cancelAnimationFrame(this.animationFrame);
    clearTimeout(this.settling);
    this.animationFrame = 0;
  }

  close(): void {
    this.detach();
    this.history?.abort();
    for (const stop of this.unsubscribe) stop();
    this.stream.close();
    this.state.close();
  }

  toggle(): void {
    if (this.snapshot().playing) {
      this.stream.pause();
      this.reportPosition();
      return;
    }
    if (this.snapshot().ended) this.jumping = true;
    this.stream.play();
  }

  seek(to: number | string): void {
    this.jumping = true;
    this.stream.seek(to);
  }

  /** Seek to a place on the bar, 0 to 1. */
  seekTo(fraction: number): void {
    this.seek(seekTarget(fraction, this.extent()));
  }

  step(by: 1 | -1): void {
    this.jumping = by < 0 || this.counts.frames === 0;
    this.stream.step(by);
  }

  setSpeed(speed: number): void {
    this.stream.speed(speed);
    this.chooseBarSize(speed, this.snapshot().fps);
  }

  setFps(fps: number): void {
    this.stream.fps(fps);
    this.chooseBarSize(this.snapshot().speed, fps);
  }

  setBar(bar: number): void {
    this.bar = bar;
    this.chooseBarSize(this.snapshot().speed, this.snapshot().fps);
  }

  /** Where a place on the bar is, in words. */
  placeInWords(fraction: number): string {
    const target = seekTarget(fraction, this.extent());
    if (typeof target === "string") return `${newYork(parseTime(target) ?? 0, "minute")} ET`;
    const { from, to } = this.extent();
    return `frame ${count(target + 1)}, about ${newYork(from + fraction * (to - from), "date")}`;
  }

  private extent(): Extent {
    const { total, from, to } = this.snapshot();
    return {
      total: total ?? undefined,
      from: parseTime(from) ?? this.options.from,
      to: parseTime(to) ?? this.options.to,
    };
  }

  private onHello(epoch: string | null, seq: number): void {
    // Another epoch counts from its own start: what was covered before stays balanced.
    if (epoch && this.epoch && epoch !== this.epoch && this.counts.frames > 0) {
      this.counts.base += seq - this.counts.seq;
      this.counts.seq = seq;
    }
    this.epoch = epoch ?? this.epoch;
  }

  /** Go on from what is true at a place; where that is no other, what is drawn stays. */
  private standAt({ seq, ts, peak, orders, size, bar }: Standing): void {
    const follows = seq === this.counts.seq;
    if (!follows) this.counts = emptyCounts(seq);
    this.counts.orders = orders;
    this.peak = peak?.value ?? Number.NEGATIVE_INFINITY;
    this.jumping = false;
    const minutes = minutesOf(size);
    if (follows && minutes === this.book.minutes) return;
    this.newBook(minutes, follows ? this.book.moments : [], bar);
    if (bar) this.putHistoryBefore(parseTime(ts) ?? bar.t);
    this.redraw();
  }

  private frame(frame: Frame): void {
    const follows = frame.seq === this.counts.seq + frame.n;
    if (!follows && (this.jumping || this.counts.frames === 0)) this.restart(frame);
    // Steps of one frame are what follows a jump, however many were already on their way before it.
    if (this.jumping && (frame.n === 1 || !follows)) this.jumping = false;
    countFrame(this.counts, frame);
    this.book.add(frame);
    this.lastFrame = frame;
    this.at = parseTime(frame.ts) ?? this.at;
    const highest = (frame.peak ?? frame.equity)?.value;
    if (typeof highest === "number") this.peak = Math.max(this.peak, highest);
    this.readouts?.countFrame();
    this.redraw();
  }

  /** Begin a new book at a frame that does not follow on the last one, where the stream did not say what is true there. */
  private restart(frame: Frame): void {
    this.counts = emptyCounts(frame.seq - frame.n);
    this.peak = Number.NEGATIVE_INFINITY;
    this.newBook(this.minutesFor(this.snapshot().speed, this.snapshot().fps));
    this.putHistoryBefore(parseTime(frame.ts));
  }

  private newBook(minutes: number, moments: readonly Moment[] = [], bar: Bar | null = null): void {
    this.book = new CandleBook(minutes, moments);
    if (bar) this.book.set(bar);
    this.book.markAll();
    this.history?.abort();
    this.holdUntil = 0;
    this.publish({ ...this.snapshot(), minutes });
  }

  private putHistoryBefore(at: number | undefined): void {
    if (at === undefined) return;
    this.holdUntil = performance.now() + HOLD_MS;
    void this.fetchHistory(this.book, at);
  }

  private minutesFor(speed: number, fps: number): number {
    return this.bar || barMinutesFor(speed, fps);
  }

  /** Ask for the bars that a pace wants; the book changes once the stream says that they come. */
  private chooseBarSize(speed: number, fps: number): void {
    this.publish({ ...this.snapshot(), speed, fps });
    const minutes = this.minutesFor(speed, fps);
    if (minutes !== minutesOf(this.stream.state.bar ?? 1)) this.stream.bar(sizeOf(minutes));
    // A relay that knows no bars says nothing of them.
    if (minutes === this.book.minutes || !this.lastFrame || this.lastFrame.bars) return;
    this.newBook(minutes, this.book.moments);
    this.putHistoryBefore(this.at);
    this.redraw();
  }

  private async fetchHistory(book: CandleBook, at: number): Promise<void> {
    const asking = new AbortController();
    this.history = asking;
    const { symbol, from } = this.options;
    try {
      const bars = await fetchHistory(this.client, { symbol, from, at, minutes: book.minutes }, asking.signal);
      if (book === this.book) book.prepend(bars, at);
    } catch {
      // Without the candles before it the playback still is what it is.
    } finally {
      if (book === this.book) {
        this.holdUntil = 0;
        this.redraw();
      }
    }
  }

  private publish(snapshot: Snapshot): void {
    this.state.set(snapshot.playing && !this.snapshot().playing ? { ...snapshot, failure: undefined } : snapshot);
    this.redraw();
  }

  private reportPosition(): void {
    this.lastReported = performance.now();
    if (this.at !== undefined) this.options.onPosition(this.at);
  }

  /** Say where it stands once it stands: a seek bar that is drawn along passes many places. */
  private reportPositionSoon(): void {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.reportPosition(), SETTLE_MS);
  }

  private redraw(): void {
    if (this.animationFrame || !this.chart) return;
    this.animationFrame = requestAnimationFrame((now) => {
      this.animationFrame = 0;
      this.draw(now);
    });
  }

  private draw(now: number): void {
    if (!this.chart) return;
    if (now < this.holdUntil) {
      this.redraw();
      return;
    }
    this.chart.draw(this.book);
    this.writeReadouts(now);
    if (this.counts.frames === 0) return;
    if (!this.snapshot().playing) this.reportPositionSoon();
    else if (now - this.lastReported > REPORT_POSITION_MS) this.reportPosition();
  }

  private writeReadouts(now: number): void {
    const { counts, lastFrame, at, peak, book } = this;
    const { playing, total } = this.snapshot();
    const place = { seq: counts.frames ? counts.seq : undefined, at };
    const candles = { candles: book.candles.length, finished: book.candles.at(-2) };
    const reading = { counts, lastFrame, at, peak, playing, total, ...candles };
    const lastClose = book.candles.findLast(({ c }) => c !== null)?.c;
    const digits = this.chart?.digits;
    this.readouts?.write({ ...reading, lastClose, digits, fraction: fractionOf(place, this.extent()) }, now);
  }
}
