import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { midnightOfDay, newYorkOffset, sessionDay, sessionMinutes, sessionOpen } from "../../../src/lib/sessions.ts";

const at = (text: string) => Date.parse(text) / 1000;
const day = (text: string) => at(text) / 86_400;

test("a session opens at 09:30 in New York, in winter and in summer time", () => {
  expect(sessionOpen(at("2024-01-02T20:59:00Z"))).toBe(at("2024-01-02T14:30:00Z"));
  expect(sessionOpen(at("2024-07-02T13:29:00Z"))).toBe(at("2024-07-02T13:30:00Z"));
});

test("it opens on the date in New York, on the days that clocks change too", () => {
  expect(sessionOpen(at("2024-01-03T04:59:00Z"))).toBe(at("2024-01-02T14:30:00Z"));
  expect(sessionOpen(at("2024-03-10T05:30:00Z"))).toBe(at("2024-03-10T13:30:00Z"));
  expect(sessionOpen(at("2024-11-03T04:30:00Z"))).toBe(at("2024-11-03T14:30:00Z"));
  expect([newYorkOffset(at("2024-03-10T06:59:00Z")), newYorkOffset(at("2024-03-10T07:00:00Z"))]).toEqual([
    -18_000, -14_400,
  ]);
});

test("a day begins at midnight in New York", () => {
  expect(midnightOfDay(day("2024-07-02"))).toBe(at("2024-07-02T04:00:00Z"));
  expect(sessionDay(at("2024-07-02T03:59:59Z"))).toBe(day("2024-07-01"));
});

test("each session from 1970 to 2050 is as long as in the services' table", () => {
  const path = "../../../../../shared/src/bff_shared/early_closes.py";
  const source = readFileSync(new URL(path, import.meta.url), "utf-8");
  const early = new Map<number, number>();
  for (const [, minutes, days] of source.matchAll(/(\d+): """([^"]*)"""/g)) {
    for (const date of (days ?? "").trim().split(/\s+/)) early.set(day(date), Number(minutes));
  }
  expect(early.size).toBeGreaterThan(200);
  for (let one = day("1970-01-01"); one <= day("2050-12-31"); one += 1) {
    const weekday = new Date(one * 86_400_000).getUTCDay();
    if (weekday === 0 || weekday === 6) continue;
    const found = sessionMinutes(one);
    if (found !== (early.get(one) ?? 390)) throw new Error(`${new Date(one * 86_400_000).toISOString()}: ${found}`);
  }
});

test("regular hours end early on three eves", () => {
  const minutes = ["2024-07-03", "2024-11-29", "2024-12-24", "2024-07-02", "2022-07-03"].map((text) =>
    sessionMinutes(day(text)),
  );
  expect(minutes).toEqual([210, 210, 210, 390, 390]);
});
