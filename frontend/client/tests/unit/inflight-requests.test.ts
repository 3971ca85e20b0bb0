import { expect, test } from "vitest";
import { Flights, type Offer } from "../../src/inflight-requests.ts";

test("what a flight brings can be had under its other names until it lands", async () => {
  const flights = new Flights();
  let land: (value: string) => void = () => {};
  const part = new Promise<string>((resolve) => {
    land = resolve;
  });
  const begin = (_: AbortSignal, offer: Offer): { part: Promise<string> } => {
    offer("part", part);
    return { part };
  };
  const { leave } = flights.board("whole", begin, ({ part }) => part);
  const joined = flights.join("part", undefined, () => Promise.resolve("asked for again"));
  land("landed");
  expect(await joined).toBe("landed");
  leave();
  expect(await flights.join("part", undefined, () => Promise.resolve("anew"))).toBe("anew");
});

test("a flight that everybody has left can be boarded under none of its names", async () => {
  const flights = new Flights();
  const never = new Promise<never>(() => {});
  let ended: AbortSignal | undefined;
  let late: Offer = () => {};
  const begin = (signal: AbortSignal, offer: Offer): Promise<never> => {
    ended = signal;
    late = offer;
    offer("early", never);
    return never;
  };
  flights.board("whole", begin, (brings) => brings).leave();
  expect(ended?.aborted).toBe(true);
  late("late", never);
  for (const name of ["whole", "early", "late"]) {
    expect(await flights.join(name, undefined, () => Promise.resolve(name))).toBe(name);
  }
});
