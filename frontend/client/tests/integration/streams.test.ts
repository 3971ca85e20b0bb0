/** A stream changes sides while it plays, and loses no frame, no order and no candle. */

import { expect, test } from "vitest";
import type { Frame, RunStream, StreamOptions } from "../../src/index.ts";
import { Switches } from "../switches.ts";
import { client, next, tell } from "./stack.ts";

const RUN = "9729ef2b0aed90d5fca0597619d7fa4f";
const plain = client("legacy");
const { orders, metadata } = await plain.getRun(RUN, { include: ["orders", "equity"] });
const total = metadata.equity_source_points ?? 0;

/** What has been shown of a run, and whether anything of it was lost or came twice. */
class Audience {
  readonly frames: Frame[] = [];
  readonly #changes: (() => void)[] = [];

  constructor(stream: RunStream) {
    stream.on("frame", (frame) => {
      this.frames.push(frame);
      for (const change of this.#changes) change();
    });
  }

  get seen(): number {
    return this.frames.reduce((sum, { n }) => sum + n, 0);
  }

  when(count: number): Promise<void> {
    return new Promise((resolve) => this.#changes.push(() => this.seen >= count && resolve()));
  }

  check(): void {
    let last = -1;
    for (const { seq, n } of this.frames) {
      expect(seq - n).toBe(last);
      last = seq;
    }
    const shown = this.frames.flatMap((frame) => frame.orders.map(({ order_id: id }) => id));
    expect(shown).toHaveLength(new Set(shown).size);
  }

  checkWhole(): void {
    this.check();
    expect(this.seen).toBe(total);
    const shown = this.frames.flatMap((frame) => frame.orders.map(({ order_id: id }) => id));
    expect(shown.sort()).toEqual((orders ?? []).map(({ order_id: id }) => id).sort());
  }
}

/** So slow that the backend has been read before a stream comes to its end. */
const PACE: StreamOptions = { speed: 20, fps: 30, autoplay: true };

/** Play the rest as fast as it goes. */
async function finish(stream: RunStream): Promise<void> {
  const ended = next(stream, "end");
  stream.speed(3600);
  await ended;
}

test("a stream that changes sides four times shows every frame once", async () => {
  const flags = new Switches("bff");
  const of = client(flags);
  const stream = of.openStream(RUN, PACE);
  const audience = new Audience(stream);
  for (const side of ["legacy", "bff", "legacy", "bff"] as const) {
    await audience.when(audience.seen + 200);
    const arrived = next(stream, "hello", (hello) => hello.side === side);
    flags.turn(side);
    await arrived;
  }
  await audience.when(audience.seen + 200);
  expect(stream.state).toMatchObject({ playing: true, ended: false, side: "bff" });
  await finish(stream);
  expect(stream.state).toMatchObject({ playing: false, ended: true, total });
  audience.checkWhole();
  of.close();
});

test("flipping to and fro before the other side is ready leaves the stream where it is", async () => {
  const flags = new Switches("legacy");
  const of = client(flags);
  const stream = of.openStream(RUN, PACE);
  const audience = new Audience(stream);
  await audience.when(300);
  for (let flip = 0; flip < 8; flip++) flags.turn(flip % 2 ? "legacy" : "bff");
  await audience.when(600);
  expect(stream.state.side).toBe("legacy");
  flags.turn("bff");
  await next(stream, "hello");
  await finish(stream);
  audience.checkWhole();
  of.close();
});

test("both sides show the same frames at the same pace", async () => {
  const shown = await Promise.all(
    (["bff", "legacy"] as const).map(async (side) => {
      const stream = client(side).openStream(RUN, { ...PACE, speed: 60, at: { seq: total - 400 } });
      const { frames } = new Audience(stream);
      await next(stream, "end");
      stream.close();
      return frames.map(({ dropped, ...frame }) => frame);
    }),
  );
  // A frame that came late is merged with the next one; the candles at common ends are the same all the same.
  const [ours, theirs] = shown as [(typeof shown)[0], (typeof shown)[0]];
  const bySeq = new Map(ours.map((frame) => [frame.seq, frame]));
  const common = theirs.filter(({ seq, n }) => bySeq.get(seq)?.n === n);
  expect(common.length).toBeGreaterThan(2);
  for (const frame of common) expect(frame).toEqual(bySeq.get(frame.seq));
});

test.each(["bff", "legacy"] as const)("seek, step, speed and play again work on the %s side", async (side) => {
  const of = client(side);
  const stream = of.openStream(RUN, { speed: 10 });
  await next(stream, "hello");
  const shown = async (act: () => void): Promise<Frame> => {
    const frame = next(stream, "frame");
    act();
    return frame;
  };
  expect(await shown(() => stream.seek(1000))).toMatchObject({ seq: 1000, n: 1 });
  expect(await shown(() => stream.step(1))).toMatchObject({ seq: 1001, n: 1 });
  const back = await shown(() => stream.step(-1));
  expect(back).toMatchObject({ seq: 1000, n: 1 });
  expect(await shown(() => stream.seek(new Date(back.ts)))).toMatchObject({ seq: 1000, ts: back.ts });
  const refused = next(stream, "error");
  stream.seek(10_000_000);
  expect(await refused).toMatchObject({ code: "RANGE", fatal: false });
  stream.speed(3600);
  expect(await shown(() => stream.seek(total - 1))).toMatchObject({ seq: total - 1 });
  const over = next(stream, "end");
  stream.play();
  await over;
  expect(await shown(() => stream.play())).toMatchObject({ seq: 0 });
  of.close();
});

test.each(["bff", "legacy"] as const)("an unknown run is a fatal error on the %s side", async (side) => {
  const stream = client(side).openStream("0".repeat(32), { autoplay: true });
  expect(await next(stream, "error", ({ fatal }) => fatal)).toMatchObject({ code: "RUN_NOT_FOUND" });
  expect(stream.state.connection).toBe("closed");
});

test("when the relay stops in the middle, legacy goes on with the next frame", async () => {
  const reports: unknown[] = [];
  const of = client("bff", { fallback: true, onReport: (report) => reports.push(report) });
  const stream = of.openStream(RUN, PACE);
  const audience = new Audience(stream);
  await audience.when(200);
  await tell("stop", "wsrelay");
  try {
    await next(stream, "hello", ({ side }) => side === "legacy");
    await audience.when(audience.seen + 200);
    await finish(stream);
  } finally {
    await tell("start", "wsrelay");
  }
  audience.checkWhole();
  expect(stream.state.side).toBe("legacy");
  expect(reports.at(-1)).toMatchObject({ call: "openStream", side: "legacy", fallback: true });
  of.close();
});
