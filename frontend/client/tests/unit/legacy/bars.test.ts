import { describe, expect, test } from "vitest";
import { FrameBuffer } from "../../../src/legacy/frame-buffer.ts";
import { resample } from "../../../src/legacy/resample.ts";
import type { Bar, BarSize, Columns } from "../../../src/types.ts";

const SIZES = [1, 5, 60, "session"] as const;

const CLOCKS = ["regular hours", "around the clock", "from 18:00 to 17:00"] as const;

/** Minutes of two sessions, an early close among them, by different clocks. */
function run(clock: (typeof CLOCKS)[number]) {
  const opens = ["2024-07-03T13:30Z", "2024-11-04T14:30Z"].map((time) => Date.parse(time));
  const minutes = { "regular hours": [0, 210], "around the clock": [-570, 870], "from 18:00 to 17:00": [-930, 450] }[
    clock
  ];
  const frames: { ts: string; ohlc: Bar; orders: object[]; equity: { ts: string; value: number } }[] = [];
  for (const open of opens) {
    for (let minute = minutes[0] as number; minute < (minutes[1] as number); minute += 1) {
      const ts = new Date(open + minute * 60_000).toISOString();
      const price = 100 + ((frames.length * 7919) % 101) / 10;
      const ohlc = { o: price, h: price + 2, l: price - 1, c: price + 1, v: frames.length % 7 } as Bar;
      const orders = frames.length % 50 === 3 ? [{ side: "BUY" }] : [];
      frames.push({ ts, ohlc, orders, equity: { ts, value: 1000 + ((frames.length * 31) % 97) } });
    }
  }
  return frames;
}

/** The chart's bars of some frames, by the code of the legacy side's charts. */
function chart(frames: ReturnType<typeof run>, size: BarSize): (Omit<Bar, "closed"> | undefined)[] {
  const column = (name: "o" | "h" | "l" | "c" | "v") => frames.map(({ ohlc }) => ohlc[name] as number);
  const [o, h, l, c, v] = [column("o"), column("h"), column("l"), column("c"), column("v")];
  const columns: Columns = { t: frames.map(({ ts }) => Date.parse(ts) / 1000), o, h, l, c, v };
  if (size === 1) return bars(columns);
  const clock = { minutes: 1, finest: size === "session" ? 390 : size, daily: false, extended: false };
  return bars(resample(columns, 50_000, clock).columns);
}

const bars = ({ t, o, h, l, c, v }: Columns) =>
  t.map((time, row) => ({ t: time, o: o[row], h: h[row], l: l[row], c: c[row], v: v[row] }) as Omit<Bar, "closed">);

describe.each(CLOCKS)("a run that trades %s", (clock) => {
  const frames = run(clock);
  const buffer = new FrameBuffer();
  for (const frame of frames) buffer.add({ t: "frame", ...frame });
  buffer.complete = true;

  test.each(SIZES)("played in frames of any length has the chart's bars of %s", (size) => {
    for (const stride of [1, 7, 60, 1000]) {
      const drawn = new Map<number, Bar>();
      for (let start = 0; start < frames.length; start += stride) {
        const frame = buffer.merged(start, Math.min(start + stride, frames.length), size);
        for (const bar of frame.bars ?? []) drawn.set(bar.t, bar);
      }
      expect([...drawn.values()]).toEqual(chart(frames, size).map((bar) => ({ ...bar, closed: true })));
    }
  });

  test.each(SIZES)("from any place on is told as far as it has come, with bars of %s", (size) => {
    // Which session an evening belongs to is not to be seen before it is over: a chart of its beginning has other bars.
    const lengths = clock === "from 18:00 to 17:00" ? [] : [1, 137, 211, frames.length - 1];
    for (const length of [...lengths, frames.length]) {
      const { bar, closed: _, ...standing } = { closed: null, ...buffer.standing(length, size) };
      const { closed, ...last } = bar as Bar;
      expect(last).toEqual(chart(frames.slice(0, length), size).at(-1));
      const next = frames[length];
      expect(closed).toBe(next ? chart(frames.slice(0, length + 1), size).at(-1)?.t !== last.t : true);
      const values = frames.slice(0, length).map(({ equity }) => equity.value);
      const peak = frames[values.indexOf(Math.max(...values))]?.equity;
      const orders = frames.slice(0, length).flatMap((frame) => frame.orders).length;
      expect(standing).toEqual({ seq: length - 1, ts: frames[length - 1]?.ts, peak, orders, size });
    }
  });
});

test("before the first frame nothing is true yet", () => {
  const nothing = { seq: -1, ts: null, peak: null, orders: 0, size: 5, bar: null };
  expect(new FrameBuffer().standing(0, 5)).toEqual(nothing);
});
