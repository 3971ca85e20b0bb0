/** Orders as markers at the bars they fall in, no more than a chart can show. Pure; times in UTC seconds. */

import { lastIndexAtOrBefore } from "bff-client/lib/search";
import { parseTime } from "bff-client/lib/time";
import { price, quantity } from "../lib/format.ts";

export interface OrderRow {
  ts: string | null;
  side?: string | null | undefined;
  quantity?: number | null | undefined;
  price?: number | null | undefined;
}

export interface TimedOrder extends OrderRow {
  time: number;
  buy: boolean;
}

export interface OrderMarker {
  time: number;
  buy: boolean;
  orders: number;
  text: string;
}

/** Markers that still tell something apart; below so many they are lettered. */
export const MAX_MARKERS = 320;
const MAX_LABELLED = 40;

/** Return the orders that have a time, by time. */
export function timedOrders(rows: readonly OrderRow[] | null | undefined): TimedOrder[] {
  const timed: TimedOrder[] = [];
  for (const row of rows ?? []) {
    const time = parseTime(row.ts);
    if (time !== undefined) timed.push({ ...row, time, buy: row.side?.toUpperCase() !== "SELL" });
  }
  return timed.sort((one, other) => one.time - other.time);
}

/** Return one mark for each bar and side within a span; none at all where there would be too many to tell apart. */
export function orderMarkers(
  orders: readonly TimedOrder[],
  bars: ArrayLike<number>,
  from: number,
  to: number,
  digits = 2,
): OrderMarker[] {
  const marks = new Map<string, OrderMarker & { last: TimedOrder }>();
  const times = orders.map((order) => order.time);
  for (let index = Math.max(0, lastIndexAtOrBefore(times, from)); index < orders.length; index += 1) {
    const order = orders[index];
    if (!order || order.time > to) break;
    const bar = bars[lastIndexAtOrBefore(bars, order.time)];
    if (bar === undefined) continue;
    const key = `${bar}${order.buy}`;
    const mark = marks.get(key);
    if (mark) mark.orders += 1;
    else marks.set(key, { time: bar, buy: order.buy, orders: 1, text: "", last: order });
    if (marks.size > MAX_MARKERS) return [];
  }
  const lettered = marks.size <= MAX_LABELLED;
  return [...marks.values()].map(({ last, ...mark }) => ({
    ...mark,
    text: lettered ? labelOf(mark, last, digits) : "",
  }));
}

function labelOf(mark: OrderMarker, order: TimedOrder, digits: number): string {
  const side = mark.buy ? "B" : "S";
  return mark.orders > 1
    ? `${side} ×${mark.orders}`
    : `${side} ${quantity(order.quantity)} @ ${price(order.price, digits)}`;
}
