import { describe, expect, test } from "vitest";
import { bytes, milliseconds, percent, price, quantity, tone } from "../../src/lib/format.ts";

describe("figures", () => {
  test("are written as traders read them", () => {
    expect([percent(0.0151, true), percent(-0.0022, true), percent(0.04), price(-47.873)]).toEqual([
      "+1.51%",
      "−0.22%",
      "4.00%",
      "−47.87",
    ]);
    expect([bytes(950), bytes(95_700), bytes(17_220_000), milliseconds(3.24), milliseconds(1609)]).toEqual([
      "950 B",
      "95.7 kB",
      "17.22 MB",
      "3.2 ms",
      "1,609 ms",
    ]);
  });

  test("have the digits of their instrument", () => {
    expect([price(0.00001234, 8), price(1.08345, 5), price(-37.63), quantity(0.05), quantity(1203)]).toEqual([
      "0.00001234",
      "1.08345",
      "−37.63",
      "0.05",
      "1,203",
    ]);
  });

  test("that are not there are a dash, and have no colour", () => {
    expect([percent(null), price(undefined), price(Number.NaN)]).toEqual(["–", "–", "–"]);
    expect([tone(0.01), tone(-0.01), tone(0.00001), tone(null)]).toEqual(["gain", "loss", undefined, undefined]);
  });
});
