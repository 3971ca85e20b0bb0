import { expect, test, vi } from "vitest";
import { FrameBuffer } from "../../../src/legacy/frame-buffer.ts";
import { Pacer } from "../../../src/legacy/pacer.ts";
import type { FeedHost } from "../../../src/stream/feed.ts";
import type { BarSize, Frame, Standing } from "../../../src/types.ts";

test("a pacer that is late shows what has come, however many ticks it has missed", () => {
  vi.useFakeTimers();
  const buffer = new FrameBuffer();
  for (let minute = 10; minute < 40; minute++) buffer.add({ t: "frame", ts: `2024-11-01T13:${minute}:00Z` });
  const shown: Frame[] = [];
  const host = { frame: (frame: Frame) => shown.push(frame), pace: () => ({ speed: 2, fps: 30, bar: null }) };
  const pacer = new Pacer(buffer, host as unknown as FeedHost);
  pacer.start(0, true);
  vi.advanceTimersByTime(0);
  // The page sleeps for longer than all that is buffered would take.
  const now = performance.now();
  const clock = vi.spyOn(performance, "now").mockReturnValue(now + 900);
  vi.advanceTimersByTime(40);
  expect(shown.at(-1)).toMatchObject({ seq: 29 });
  pacer.close();
  clock.mockRestore();
  vi.useRealTimers();
});

test("bars come where they are asked for, with what is true before the first frame and after each jump", () => {
  vi.useFakeTimers();
  const buffer = new FrameBuffer();
  for (let minute = 30; minute < 50; minute++) {
    const ohlc = { o: minute, h: minute, l: minute, c: minute, v: 1 };
    buffer.add({ t: "frame", ts: `2024-11-01T13:${minute}:00Z`, ohlc });
  }
  const told: unknown[] = [];
  let bar: BarSize | null = null;
  const host = {
    frame: ({ seq, bars }: Frame) => told.push([seq, bars?.map(({ v, closed }) => [v, closed])]),
    standing: ({ seq, size, bar }: Standing) => told.push(["standing", seq, size, bar?.v]),
    pace: () => ({ speed: 1, fps: 30, bar }),
  };
  const pacer = new Pacer(buffer, host as unknown as FeedHost);
  pacer.start(0, false);
  pacer.control({ cmd: "seek", pos: 2 });
  bar = 5;
  pacer.control({ cmd: "bar", val: 5 });
  pacer.control({ cmd: "step", val: 1 });
  pacer.control({ cmd: "seek", pos: 19 });
  buffer.add({ t: "frame", ts: "2024-11-01T13:50:00Z", ohlc: { o: 1, h: 1, l: 1, c: 1, v: 1 } });
  pacer.control({ cmd: "step", val: 1 });
  expect(told).toEqual([
    [2, undefined],
    ["standing", 2, 5, 3],
    [3, [[4, false]]],
    ["standing", 18, 5, 4],
    [19, [[5, false]]],
    // Nobody knew that it was finished.
    [
      20,
      [
        [5, true],
        [1, false],
      ],
    ],
  ]);
  pacer.close();
  vi.useRealTimers();
});
