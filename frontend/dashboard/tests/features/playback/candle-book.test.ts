import { describe, expect, test } from "vitest";
import {
  barMinutesFor,
  CandleBook,
  countFrame,
  emptyCounts,
  type Frame,
  imbalance,
  MAX_CANDLES,
  type Ohlcv,
} from "../../../src/features/playback/candle-book.ts";

const start = Date.parse("2024-07-02T13:30Z") / 1000;
const minute = (index: number) => new Date((start + index * 60) * 1000).toISOString();
const frame = (index: number, rest: Partial<Frame> = {}): Frame => ({
  ts: minute(index),
  ohlc: { o: index, h: index + 2, l: index - 1, c: index + 1, v: 10 },
  orders: [],
  equity: { value: 1000 + index },
  n: 1,
  seq: index,
  ...rest,
});

describe("candles", () => {
  test("grow from frames: first open, highest high, lowest low, last close, all of the volume", () => {
    const book = new CandleBook(5);
    for (let index = 0; index < 7; index += 1) book.add(frame(index));
    expect(book.candles).toEqual([
      { time: start, o: 0, h: 6, l: -1, c: 5, v: 50, equity: 1004, buys: 0, sells: 0 },
      { time: start + 300, o: 5, h: 8, l: 4, c: 7, v: 20, equity: 1006, buys: 0, sells: 0 },
    ]);
  });

  test("count orders by side, and leave a gap where a minute has no prices", () => {
    const book = new CandleBook(1);
    book.add(frame(0, { orders: [{ side: "BUY" }, { side: "sell" }, { side: "SELL" }] }));
    book.add(frame(1, { ohlc: null }));
    expect(book.candles.map(({ buys, sells }) => [buys, sells])).toEqual([
      [1, 2],
      [0, 0],
    ]);
    expect(book.candles[1]).toMatchObject({ o: null, h: null, l: null, c: null, v: 0, equity: 1001 });
  });

  test("with some prices missing are made of the others", () => {
    const book = new CandleBook(5);
    const missing = { o: null, h: null, l: null, c: null, v: null } as unknown as Ohlcv;
    book.add(frame(0, { ohlc: null }));
    book.add(frame(1, { ohlc: missing }));
    book.add(frame(2));
    book.add(frame(3, { ohlc: { ...missing, h: 99 } }));
    book.add(frame(4, { ohlc: null }));
    expect(book.candles).toEqual([{ time: start, o: 2, h: 4, l: 1, c: 3, v: 10, equity: 1004, buys: 0, sells: 0 }]);
  });

  test("are told once as changed", () => {
    const book = new CandleBook(1);
    book.add(frame(0));
    expect(book.changed()).toHaveLength(1);
    expect(book.changed()).toHaveLength(0);
    book.add(frame(1));
    book.add(frame(2));
    expect(book.changed().map((candle) => candle.time - start)).toEqual([60, 120]);
  });

  test("of the past come in front, and never twice", () => {
    const book = new CandleBook(5);
    book.add(frame(10));
    const bars = [0, 1, 5, 9, 10, 11].map((index) => ({ time: start + index * 60, o: 1, h: 1, l: 1, c: 1, v: 1 }));
    book.prepend(bars, start + 600);
    expect(book.candles.map((candle) => candle.time - start)).toEqual([0, 300, 600]);
    expect(book.rebuilt).toBe(true);
  });

  const bar = (index: number, rest = {}) => ({ t: start + index * 300, o: 1, h: 3, l: 0, c: 2, v: 9, ...rest });

  test("are drawn as a frame says, with its orders in the bars of their times and its equity in the last", () => {
    const book = new CandleBook(5);
    const orders = [{ side: "SELL", ts_utc: minute(6) }, { side: "BUY", timestamp: minute(11) }, { side: "BUY" }];
    book.add(frame(12, { n: 13, bars: [bar(0), bar(1, { h: 8 }), bar(2)], orders }));
    book.add(frame(14, { n: 2, bars: [bar(2, { c: 7, v: 20 })] }));
    expect(book.candles).toEqual([
      { time: start, o: 1, h: 3, l: 0, c: 2, v: 9, equity: undefined, buys: 0, sells: 0 },
      { time: start + 300, o: 1, h: 8, l: 0, c: 2, v: 9, equity: undefined, buys: 0, sells: 1 },
      { time: start + 600, o: 1, h: 3, l: 0, c: 7, v: 20, equity: 1014, buys: 2, sells: 0 },
    ]);
  });

  test("of a bar that is said to be finished only later are drawn once more, and older ones with all others", () => {
    const book = new CandleBook(5);
    book.add(frame(4, { bars: [bar(0)] }));
    book.changed();
    book.add(frame(5, { bars: [bar(0, { c: 5 }), bar(1)] }));
    expect(book.rebuilt).toBe(false);
    expect(book.changed().map(({ c }) => c)).toEqual([5, 2]);
    book.add(frame(6, { bars: [bar(0, { c: 6 }), bar(1)] }));
    expect(book.rebuilt).toBe(true);
  });

  test("of another size have the equity and the orders that were known before", () => {
    const minutes = new CandleBook(1);
    for (let index = 0; index < 7; index += 1) minutes.add(frame(index, { orders: [{ side: "BUY" }] }));
    const book = new CandleBook(5, minutes.moments);
    book.set(bar(1));
    book.markAll();
    book.prepend([{ time: start, o: 1, h: 1, l: 1, c: 1, v: 1 }], start + 360);
    expect(book.candles.map(({ equity, buys }) => [equity, buys])).toEqual([
      [1004, 5],
      [1006, 2],
    ]);
  });

  test("of hours stand where the chart has them, though they be not anchored at 09:30", () => {
    const book = new CandleBook(60);
    const evening = start + 8.5 * 3600;
    book.add({
      ...frame(0),
      ts: new Date((evening + 4200) * 1000).toISOString(),
      bars: [bar(0, { t: evening + 3600 })],
    });
    book.prepend([{ time: evening, o: 1, h: 1, l: 1, c: 1, v: 1 }], evening);
    expect(book.candles.map(({ time, equity }) => [time - evening, equity])).toEqual([
      [0, undefined],
      [3600, 1000],
    ]);
  });

  test("stay within their bound", () => {
    const book = new CandleBook(1);
    for (let index = 0; index < MAX_CANDLES * 2; index += 1) book.add(frame(index));
    expect(book.candles.length).toBeLessThanOrEqual(MAX_CANDLES);
    expect(book.candles.at(-1)?.o).toBe(MAX_CANDLES * 2 - 1);
  });

  test.each([
    [1, 30, 5],
    [5, 30, 15],
    [15, 30, 60],
    [60, 30, 60],
    [240, 30, 390],
  ])("at speed %f and %i frames a second are of %i minutes", (speed, fps, minutes) => {
    expect(barMinutesFor(speed, fps)).toBe(minutes);
  });
});

describe("the counts", () => {
  const count = (frames: Frame[], base = -1) => {
    const counts = emptyCounts(base);
    for (const one of frames) countFrame(counts, one);
    return counts;
  };

  test("balances while each frame covers what follows on the last one", () => {
    const counts = count([frame(4, { n: 5 }), frame(5), frame(9, { n: 4, dropped: 3 })]);
    expect([imbalance(counts), counts.gaps, counts.covered, counts.dropped]).toEqual([0, 0, 10, 3]);
  });

  test("begins where playback began", () => {
    const counts = count([frame(100), frame(101)]);
    expect([imbalance(counts), counts.base, counts.gaps]).toEqual([0, 99, 0]);
  });

  test("shows a frame that is missing, and one that came twice", () => {
    expect(imbalance(count([frame(0), frame(2)]))).toBe(1);
    expect(count([frame(0), frame(2)]).gaps).toBe(1);
    expect(imbalance(count([frame(0), frame(1), frame(1)]))).toBe(-1);
  });
});
