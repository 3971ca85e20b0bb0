import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { onIntent } from "../../src/ui/prefetch-on-hover.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a pointer that rests means something, one that passes over does not", () => {
  const act = vi.fn();
  const { onPointerEnter, onPointerLeave } = onIntent(act);
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
  const { onPointerEnter, onPointerDown } = onIntent(act);
  onPointerEnter();
  onPointerDown();
  expect(act).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(1000);
  expect(act).toHaveBeenCalledTimes(1);
});

test("a focus that goes on from link to link means only the last", () => {
  const [first, second] = [vi.fn(), vi.fn()];
  onIntent(first).onFocus();
  vi.advanceTimersByTime(30);
  onIntent(second).onFocus();
  vi.advanceTimersByTime(1000);
  expect(first).not.toHaveBeenCalled();
  expect(second).toHaveBeenCalledTimes(1);
});
