import { expect, test } from "vitest";
import { isoTime, isoTimeMs, parseTime, parseTimeMs } from "../../../src/lib/time.ts";

const NOON = Date.UTC(2024, 0, 2, 12);

test("a time is UTC where it names no zone, with a T or a space, whatever the browser's zone is", () => {
  for (const text of [
    "2024-01-02T12:00:00",
    "2024-01-02 12:00:00",
    "2024-01-02T12:00:00Z",
    "2024-01-02T14:00:00+02:00",
  ]) {
    expect(parseTimeMs(text)).toBe(NOON);
    expect(parseTime(text)).toBe(NOON / 1000);
  }
  expect(parseTimeMs("2024-01-02")).toBe(Date.UTC(2024, 0, 2));
});

test("what is no time is NaN, or undefined in seconds", () => {
  for (const value of ["", "soon", null, undefined, 17, {}]) expect(parseTimeMs(value)).toBeNaN();
  expect([parseTime(""), parseTime("soon"), parseTime(null), parseTime(undefined)]).toEqual(
    Array.from({ length: 4 }, () => undefined),
  );
});

test("seconds are whole, rounded down, and written as the API takes them", () => {
  expect(parseTime("2024-01-02T12:00:00.999Z")).toBe(NOON / 1000);
  expect([isoTime(NOON / 1000 + 0.7), isoTimeMs(NOON), isoTimeMs(NOON + 5)]).toEqual([
    "2024-01-02T12:00:00Z",
    "2024-01-02T12:00:00Z",
    "2024-01-02T12:00:00.005Z",
  ]);
});
