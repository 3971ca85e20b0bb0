import { expect, test } from "vitest";
import { lastIndexAtOrBefore } from "../../../src/lib/search.ts";

test("the last index at or before a value is found, -1 before the first", () => {
  const times = [0, 60, 120, 180];
  expect([-1, 0, 59, 60, 179, 180, 999].map((time) => lastIndexAtOrBefore(times, time))).toEqual([
    -1, 0, 0, 1, 2, 3, 3,
  ]);
  expect(lastIndexAtOrBefore([], 5)).toBe(-1);
});

test("of equal values the last counts", () => {
  expect(lastIndexAtOrBefore([1, 2, 2, 2, 3], 2)).toBe(3);
});
