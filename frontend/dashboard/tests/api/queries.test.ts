import type { CompleteRun } from "bff-client";
import { describe, expect, test } from "vitest";
import { withPart } from "../../src/api/queries.ts";

describe("a part that was had again", () => {
  test("takes its place, and the whole is partial only while another one lacks", () => {
    const parts = (orders: string, equity: string) => ({
      metrics: { state: "ok" },
      equity: { state: equity },
      orders: { state: orders },
    });
    const answer = (orders: string, equity: string, rows: unknown) =>
      ({
        orders: rows,
        metadata: { parts: parts(orders, equity), partial_data: true, failed_sources: [] },
      }) as unknown as CompleteRun;
    const merged = withPart(answer("failed", "timeout", null), answer("ok", "skipped", [1]), "orders");
    expect(merged.orders).toEqual([1]);
    expect(merged.metadata.failed_sources).toEqual(["equity"]);
    expect(withPart(merged, answer("skipped", "ok", null), "equity").metadata.partial_data).toBe(false);
  });
});
