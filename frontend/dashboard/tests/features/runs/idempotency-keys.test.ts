import { expect, test } from "vitest";
import { IdempotencyKeys } from "../../../src/features/runs/idempotency-keys.ts";

test("the same request has the same key however often it is sent, another request another key", () => {
  const keys = new IdempotencyKeys();
  const first = keys.keyOf({ symbol: "AAPL", seed: 1 });
  expect(first.length).toBeGreaterThan(8);
  expect(keys.keyOf({ symbol: "AAPL", seed: 1 })).toBe(first);
  expect(keys.keyOf({ symbol: "AAPL", seed: 2 })).not.toBe(first);
});
