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
