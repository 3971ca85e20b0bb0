/** Writes what changes with every frame straight into the page: texts, the seek bar, and the stage's `data-` attributes. */

import type { Frame } from "bff-client";
import { isoTime } from "bff-client/lib/time";
import { count, money, percent, price } from "../../lib/format.ts";
import { newYork } from "../../lib/time.ts";
import { type Candle, type FrameCounts, imbalance } from "./candle-book.ts";
import { SEEK_STEPS } from "./seek-bar.ts";

/** Elements with `data-live="…"` under the root get these texts. */
type LiveText = "price" | "equity" | "drawdown" | "time" | "seq" | "orders" | "dropped" | "covered" | "rate";

const RATE_MS = 1000;
const SEEK_BAR_TEXT_MS = 250;

/** As much of a playback as is written. */
export interface PlaybackReading {
  counts: FrameCounts;
  lastFrame: Frame | undefined;
  /** Time of the last frame, UTC seconds. */
  at: number | undefined;
  /** Highest equity of the run so far. */
  peak: number;
  lastClose: number | null | undefined;
  /** Digits of prices; two by default. */
  digits?: number | undefined;
  candles: number;
  /** The last candle that is finished, as it is drawn. */
  finished: Candle | undefined;
  playing: boolean;
  total: number | null;
  /** The place on the seek bar, 0 to 1. */
  fraction: number;
}

export class Readouts {
  private readonly root: HTMLElement;
  private readonly texts = new Map<LiveText, HTMLElement>();
  private readonly seekBar: HTMLInputElement | null;
  private rateSince = 0;
  private frames = 0;

  constructor(root: HTMLElement) {
    this.root = root;
    this.seekBar = root.querySelector<HTMLInputElement>("input[type=range]");
    for (const element of root.querySelectorAll<HTMLElement>("[data-live]")) {
      this.texts.set(element.dataset["live"] as LiveText, element);
    }
  }

  /** A frame has come: for the rate at which they are drawn. */
  countFrame(): void {
    this.frames += 1;
  }

  /** Write a reading; `now` is a time of `performance.now()`. */
  write(reading: PlaybackReading, now: number): void {
    const { counts, at, lastFrame, peak, total, finished } = reading;
    this.text("time", at === undefined ? "–" : `${newYork(at, "full")} ET`);
    this.text("price", price(reading.lastClose, reading.digits));
    const equity = lastFrame?.equity?.value;
    if (typeof equity === "number") {
      this.text("equity", money(equity));
      this.text("drawdown", percent(peak > 0 ? (peak - equity) / peak : 0));
    }
    this.text("seq", `${count(counts.seq + 1)}${total ? ` / ${count(total)}` : ""}`);
    this.text("orders", count(counts.orders));
    this.text("dropped", count(counts.dropped));
    this.text("covered", `${count(counts.covered)} of ${count(counts.seq - counts.base)}`);
    this.moveSeekBar(reading, now);
    if (now - this.rateSince > RATE_MS) this.writeRate(reading.playing, now);
    Object.assign(this.root.dataset, {
      seq: counts.seq,
      covered: counts.covered,
      base: counts.base,
      broken: counts.gaps,
      imbalance: imbalance(counts),
      frames: counts.frames,
      at: at === undefined ? "" : isoTime(at),
      candles: reading.candles,
      finished: finished ? [finished.time, finished.o, finished.h, finished.l, finished.c, finished.v].join(" ") : "",
    });
  }

  private writeRate(playing: boolean, now: number): void {
    this.text("rate", playing ? `${Math.round((this.frames * 1000) / (now - this.rateSince))} fps` : "–");
    this.frames = 0;
    this.rateSince = now;
  }

  /** Move the seek bar along unless it is held; a screen reader hears of the time now and then only. */
  private moveSeekBar({ fraction, playing }: PlaybackReading, now: number): void {
    const bar = this.seekBar;
    if (!bar || bar.dataset["held"]) return;
    bar.value = String(Math.round(fraction * SEEK_STEPS));
    if (now - this.rateSince > SEEK_BAR_TEXT_MS || !playing) {
      bar.ariaValueText = this.texts.get("time")?.textContent ?? "";
    }
  }

  private text(name: LiveText, text: string): void {
    const element = this.texts.get(name);
    if (element && element.textContent !== text) element.textContent = text;
  }
}
