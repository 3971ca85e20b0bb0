import { focusManager, QueryClient, QueryObserver } from "@tanstack/react-query";
import type { CompleteRun } from "bff-client";
import { describe, expect, test } from "vitest";
import { refetchEverything, withPart } from "../../src/api/queries.ts";

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
    const { partial_data, failed_sources } = withPart(merged, answer("skipped", "missing", null), "equity").metadata;
    expect([partial_data, failed_sources]).toEqual([true, []]);
  });
});

describe("after a flag has changed", () => {
  test("a page that is seen asks at once for what it shows, a hidden one when it is shown", async () => {
    const queries = new QueryClient();
    queries.mount();
    let asked = 0;
    const observer = new QueryObserver(queries, { queryKey: ["runs"], queryFn: () => ++asked, staleTime: 60_000 });
    const stop = observer.subscribe(() => undefined);
    await expect.poll(() => observer.getCurrentResult().data).toBe(1);
    await refetchEverything(queries);
    expect(asked).toBe(2);
    focusManager.setFocused(false);
    await refetchEverything(queries);
    await refetchEverything(queries);
    expect(asked).toBe(2);
    focusManager.setFocused(true);
    await expect.poll(() => observer.getCurrentResult().data).toBe(3);
    stop();
    queries.unmount();
    focusManager.setFocused(undefined);
  });
});
