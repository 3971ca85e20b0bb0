import { expect, test } from "vitest";
import { InflightRequests, type ShareAs } from "../../src/inflight-requests.ts";

test("a result can be joined under its other keys until it settles", async () => {
  const requests = new InflightRequests();
  let settle: (value: string) => void = () => {};
  const part = new Promise<string>((resolve) => {
    settle = resolve;
  });
  const start = (_: AbortSignal, shareAs: ShareAs): { part: Promise<string> } => {
    shareAs("part", part);
    return { part };
  };
  const { release } = requests.share("whole", start, ({ part }) => part);
  const joined = requests.join("part", undefined, () => Promise.resolve("asked for again"));
  settle("settled");
  expect(await joined).toBe("settled");
  release();
  expect(await requests.join("part", undefined, () => Promise.resolve("anew"))).toBe("anew");
});

test("a request without callers can be joined under none of its keys", async () => {
  const requests = new InflightRequests();
  const never = new Promise<never>(() => {});
  let ended: AbortSignal | undefined;
  let late: ShareAs = () => {};
  const start = (signal: AbortSignal, shareAs: ShareAs): Promise<never> => {
    ended = signal;
    late = shareAs;
    shareAs("early", never);
    return never;
  };
  requests.share("whole", start, (result) => result).release();
  expect(ended?.aborted).toBe(true);
  late("late", never);
  for (const name of ["whole", "early", "late"]) {
    expect(await requests.join(name, undefined, () => Promise.resolve(name))).toBe(name);
  }
});
