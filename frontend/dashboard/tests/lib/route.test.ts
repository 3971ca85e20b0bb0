import { describe, expect, test } from "vitest";
import { formatRoute, LIST, parseRoute, playRoute, type Route, runRoute } from "../../src/lib/route.ts";

const search = (address: string) => address.slice(address.indexOf("?") === -1 ? address.length : address.indexOf("?"));
const at = (text: string) => Date.parse(text) / 1000;

describe("an address", () => {
  const routes: Route[] = [
    LIST,
    {
      ...LIST,
      symbol: "AAPL",
      strategy: "sma_crossover",
      status: "DONE",
      sort: "sharpe_ratio",
      descending: false,
      page: 3,
    },
    { ...LIST, symbol: "M&M.NS" },
    runRoute("abc"),
    runRoute("sma:AAPL:7"),
    runRoute("YWJj==&a~b 100%"),
    playRoute("2024-01-02T14:30:00"),
    runRoute("x".repeat(256)),
    { ...runRoute("abc"), timeframe: "1M", from: at("2024-01-02T14:30Z"), to: at("2024-02-01T00:00Z") },
    playRoute("abc"),
    { ...playRoute("abc"), speed: 240, fps: 60, bar: 15, at: at("2024-06-04T15:01Z") },
  ];

  test.each(routes)("reproduces its view %#", (route) => {
    expect(parseRoute(search(formatRoute(route)))).toEqual(route);
  });

  test("leaves out what is as usual, and is readable", () => {
    expect(formatRoute(LIST)).toBe("/");
    expect(formatRoute(runRoute("abc"))).toBe("/?run=abc");
    expect(formatRoute({ ...playRoute("abc"), at: at("2024-06-04T15:01Z") })).toBe(
      "/?run=abc&view=play&at=2024-06-04T15:01",
    );
  });

  test.each([
    ["?run=../secret", LIST],
    ["?run=%00", LIST],
    ["?status=HAPPY&sort=colour&page=-4", LIST],
    ["?run=a&tf=7M&from=tomorrow&to=2024-01-01", runRoute("a")],
    ["?run=a&from=2024-02-01&to=2024-01-01", runRoute("a")],
    ["?run=a&view=play&speed=0&fps=1000&bar=7&at=x", playRoute("a")],
  ])("with nonsense %s is as usual", (text, route) => {
    expect(parseRoute(text)).toEqual(route);
  });
});
