import { expect, test, vi } from "vitest";
import { FrameBuffer } from "../../../src/legacy/frame-buffer.ts";
import { Pacer } from "../../../src/legacy/pacer.ts";
import type { FeedHost } from "../../../src/stream/feed.ts";
import type { Frame } from "../../../src/types.ts";

test("a pacer that is late shows what has come, however many ticks it has missed", () => {
  vi.useFakeTimers();
  const buffer = new FrameBuffer();
  for (let minute = 10; minute < 40; minute++) buffer.add({ t: "frame", ts: `2024-11-01T13:${minute}:00Z` });
  const shown: Frame[] = [];
  const host = { frame: (frame: Frame) => shown.push(frame), pace: () => ({ speed: 2, fps: 30 }) };
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
