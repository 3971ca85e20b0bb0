import { describe, expect, test } from "vitest";
import { fractionOf, seekTarget } from "../../../src/features/playback/seek-bar.ts";

const start = Date.parse("2024-07-02T13:30Z") / 1000;
const minute = (index: number) => new Date((start + index * 60) * 1000).toISOString();

describe("the seek bar", () => {
  const run = { total: 101, from: start, to: start + 6000 };

  test("counts frames once their number is known", () => {
    expect(fractionOf({ seq: 50, at: start }, run)).toBe(0.5);
    expect(seekTarget(0.25, run)).toBe(25);
    expect(seekTarget(1, run)).toBe(100);
  });

  test("goes by time until then", () => {
    const unknown = { ...run, total: undefined };
    expect(fractionOf({ seq: 50, at: start + 1500 }, unknown)).toBe(0.25);
    expect(seekTarget(0.25, unknown)).toBe(`${minute(25).slice(0, 19)}Z`);
    expect(seekTarget(0, unknown)).toBe(0);
    expect(fractionOf({ seq: undefined, at: undefined }, unknown)).toBe(0);
  });
});
