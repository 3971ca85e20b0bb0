import { expect, test } from "vitest";
import { FrameBuffer } from "../../../src/legacy/frame-buffer.ts";

const frame = (minute: number, ohlc: unknown) => ({
  ts: new Date(Date.UTC(2024, 0, 2, 14, 30 + minute)).toISOString(),
  ohlc,
  orders: [],
  equity: null,
});

test("a minute without prices has no candle, and frames merged over it have the others", () => {
  const frames = new FrameBuffer();
  frames.add(frame(0, { o: 1, h: 3, l: 0, c: 2, v: 5 }));
  frames.add(frame(1, { o: null, h: null, l: null, c: null, v: null }));
  frames.add(frame(2, null));
  frames.add(frame(3, { o: 2, h: 2.5, l: 1, c: 1.5 }));
  expect(frames.merged(1, 2).ohlc).toBeNull();
  expect(frames.merged(1, 3).ohlc).toBeNull();
  expect(frames.merged(0, 4).ohlc).toEqual({ o: 1, h: 3, l: 0, c: 1.5, v: 5 });
});

test("a time's frame is the nearest, as long as the buffer has come so far", () => {
  const frames = new FrameBuffer();
  for (const minute of [0, 1, 2]) frames.add(frame(minute, null));
  const at = (minutes: number) => Date.UTC(2024, 0, 2, 14, 30) + 60_000 * minutes;
  expect([at(-5), at(0), at(0.4), at(0.6), at(2)].map((ms) => frames.indexNearest(ms))).toEqual([0, 0, 0, 1, 2]);
  expect(frames.indexNearest(at(3))).toBeNull();
  frames.complete = true;
  expect(frames.indexNearest(at(3))).toBe(2);
  expect(frames.indexAfter(frame(1, null).ts)).toBe(2);
});
