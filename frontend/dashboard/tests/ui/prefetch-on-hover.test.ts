import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { prefetchOnHover } from "../../src/ui/prefetch-on-hover.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a pointer that rests means something, one that passes over does not", () => {
  const act = vi.fn();
  const { onPointerEnter, onPointerLeave } = prefetchOnHover(act);
  onPointerEnter();
  vi.advanceTimersByTime(30);
  onPointerLeave();
  vi.advanceTimersByTime(1000);
  expect(act).not.toHaveBeenCalled();
  onPointerEnter();
  vi.advanceTimersByTime(1000);
  expect(act).toHaveBeenCalledTimes(1);
});

test("a press means it at once", () => {
  const act = vi.fn();
  const { onPointerEnter, onPointerDown } = prefetchOnHover(act);
  onPointerEnter();
  onPointerDown();
  expect(act).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(1000);
  expect(act).toHaveBeenCalledTimes(1);
});

test("a focus that goes on from link to link means only the last", () => {
  const [first, second] = [vi.fn(), vi.fn()];
  prefetchOnHover(first).onFocus();
  vi.advanceTimersByTime(30);
  prefetchOnHover(second).onFocus();
  vi.advanceTimersByTime(1000);
  expect(first).not.toHaveBeenCalled();
  expect(second).toHaveBeenCalledTimes(1);
});
