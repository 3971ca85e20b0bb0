import { expect, test } from "vitest";
import { isRunId, isSymbol } from "../../../src/lib/keys.ts";

test.each(["AMpB", "^GSPC", "ES=F", "C:EURUSD", "M&M.NS", "BTC/USD", "AAPL  240119C00150000", "ä", "x".repeat(64)])(
  "%s can name an instrument",
  (name) => {
    expect(isSymbol(name)).toBe(true);
  },
);

test.each(["", " A", "A ", "A\nB", "\u200b", "\ufffd", "\ud83d", "x".repeat(65)])("%j names no instrument", (name) => {
  expect(isSymbol(name)).toBe(false);
});

test.each(["sma:AAPL:7", "2024-01-02T14:30:00", "a~b", "YWJj==", "a b", "...", "😀".repeat(256)])(
  "%s can name a run",
  (name) => {
    expect(isRunId(name)).toBe(true);
  },
);

test.each(["", ".", "..", "a/b", "a\x1b", "x".repeat(257)])("%j names no run", (name) => {
  expect(isRunId(name)).toBe(false);
});
