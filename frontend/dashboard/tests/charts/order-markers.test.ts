import { describe, expect, test } from "vitest";
import { MAX_MARKERS, orderMarkers, timedOrders } from "../../src/charts/order-markers.ts";

describe("marks", () => {
  const bars = [0, 60, 120, 180];
  const order = (seconds: number, side: string) => ({
    ts: new Date(seconds * 1000).toISOString(),
    side,
    quantity: 100,
    price: 1.5,
  });

  test("stand at the bar that their orders fall in, one for each side", () => {
    const marks = orderMarkers(timedOrders([order(130, "SELL"), order(65, "BUY"), order(70, "BUY")]), bars, 0, 180);
    expect(marks).toEqual([
      { time: 60, buy: true, orders: 2, text: "B ×2" },
      { time: 120, buy: false, orders: 1, text: "S 100 @ 1.50" },
    ]);
  });

  test("have the digits of the instrument, and fractions of a share", () => {
    const small = { ts: new Date(130_000).toISOString(), side: "BUY", quantity: 0.05, price: 0.00001234 };
    expect(orderMarkers(timedOrders([small]), bars, 0, 180, 8)[0]?.text).toBe("B 0.05 @ 0.00001234");
  });

  test("are left out where they would be too many to tell apart", () => {
    const many = Array.from({ length: MAX_MARKERS + 2 }, (_, index) => index * 60);
    expect(orderMarkers(timedOrders(many.map((time) => order(time, "BUY"))), many, 0, 1e9)).toEqual([]);
  });
});
