import { expect, test } from "vitest";
import { priceFormatOf } from "../../../src/lib/price-format.ts";

const grid = (step: number, digits: number, around: number) =>
  Array.from({ length: 100 }, (_, n) =>
    Number(((Math.round(around / step) + ((n * 37) % 101)) * step).toFixed(digits)),
  );

test.each([
  [grid(0.01, 2, 187.15), 2, 0.01],
  [grid(1e-8, 8, 0.00001234), 8, 1e-8],
  [grid(0.0001, 4, 0.4563), 4, 0.0001],
  [grid(0.25, 2, 4500), 2, 0.25],
  [grid(0.01, 2, -37.63), 2, 0.01],
  [[186.57, 187], 2, 0.01],
  [[], 2, 0.01],
  [Array.from({ length: 100 }, (_, n) => 0.002 + Math.sin(n + 1) / 1000), 7, 1e-7],
])("prices have the digits and the step they have %#", (prices, digits, min_move) => {
  expect(priceFormatOf(prices)).toEqual({ digits, min_move });
});

test("a few odd prints do not lengthen all others", () => {
  expect(priceFormatOf([...grid(0.01, 2, 187.15), 186.5717, 186.575]).digits).toBe(2);
});
