/** Performance metrics that the backend lacks, computed from equity and orders: docs/runs.md has the formulas. */

import { parseTimeMs } from "../lib/time.ts";
import type { Order, RunMetrics } from "../types.ts";
import { periodsPerYear } from "./annualisation.ts";
import { drawdowns, type EquityCurve } from "./equity.ts";
import { isNumber } from "./schema.ts";

const BOUGHT = ["BUY", "B", "LONG", "COVER", "BUY_TO_COVER"];
const SOLD = ["SELL", "S", "SHORT", "SELL_SHORT"];
const UNFILLED = ["NEW", "PENDING", "OPEN", "REJECTED", "CANCELLED", "CANCELED", "EXPIRED"];
const FLAT = 1e-9;
/** Returns that differ by less than this share of them differ by what floating point leaves. */
const STEADY = 1e-9;
const BELOW_MS = /\.\d{3}(\d+)/;

/** Return metrics with what they lack and what can be computed, and the names of that. */
export function completeMetrics(
  metrics: RunMetrics,
  curve: EquityCurve | null,
  orders: Order[] | null,
): [RunMetrics, string[]] {
  const found: Record<string, number | null> = {};
  if (curve) {
    const values = curve.points.map(({ value }) => value);
    found["total_return"] = totalReturn(values);
    found["max_drawdown"] = drawdowns(values).reduce((deepest, loss) => deeper(deepest, loss), null);
    found["sharpe_ratio"] = sharpe(values, curve.at);
  }
  if (orders) {
    Object.assign(found, tradeMetrics(tradeProfits(orders)));
  }
  const lacking = Object.entries(found).filter(([name, figure]) => figure !== null && metrics[name] == null);
  return [{ ...metrics, ...Object.fromEntries(lacking) }, lacking.map(([name]) => name).sort()];
}

function tradeMetrics(profits: number[]): Record<string, number | null> {
  const winners = profits.filter((profit) => profit > 0);
  const losers = profits.filter((profit) => profit < 0);
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
  const mean = (values: number[]) => (values.length ? sum(values) / values.length : null);
  return {
    total_trades: profits.length,
    win_rate: profits.length ? winners.length / profits.length : null,
    winning_trades: winners.length,
    losing_trades: losers.length,
    profit_factor: losers.length ? sum(winners) / -sum(losers) : null,
    avg_winning_trade: mean(winners),
    avg_losing_trade: mean(losers),
    largest_winner: winners.length ? Math.max(...winners) : null,
    largest_loser: losers.length ? Math.min(...losers) : null,
  };
}

function deeper(one: number | null, other: number | null): number | null {
  return one === null || (other !== null && other > one) ? other : one;
}

function totalReturn(values: number[]): number | null {
  const [first, last] = [values[0], values.at(-1)];
  return first && last !== undefined ? last / first - 1 : null;
}

function sharpe(values: number[], at: number[]): number | null {
  const periods = periodsPerYear(at);
  if (periods === null || values.slice(0, -1).includes(0)) return null;
  const returns = values.slice(1).map((value, row) => (value - (values[row] as number)) / (values[row] as number));
  const mean = returns.reduce((sum, value) => sum + value, 0) / returns.length;
  const deviation = Math.sqrt(returns.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (returns.length - 1));
  return deviation > STEADY * Math.abs(mean) ? (mean / deviation) * Math.sqrt(periods) : null;
}

/** Return the profit of each round trip from flat to flat; an order past flat ends one and begins another. */
function tradeProfits(orders: Order[]): number[] {
  const profits: number[] = [];
  const books = new Map<string | null, { held: number; cash: number }>();
  for (const order of inTime(orders.filter(isFilled))) {
    const price = order.price as number;
    const quantity = (order.quantity as number) * (isOne(order.side, BOUGHT) ? 1 : -1);
    const fee = isNumber(order.commission) ? order.commission : 0;
    let { held, cash } = books.get(order.symbol) ?? { held: 0, cash: 0 };
    const closing = held * quantity < 0 ? Math.min(Math.abs(held), Math.abs(quantity)) / Math.abs(quantity) : 0;
    if (closing) {
      cash -= closing * (quantity * price + fee);
      held += closing * quantity;
      if (Math.abs(held) < FLAT) {
        profits.push(cash);
        held = cash = 0;
      }
    }
    const rest = 1 - closing;
    books.set(order.symbol, { held: held + rest * quantity, cash: cash - rest * (quantity * price + fee) });
  }
  return profits;
}

/** Return orders by their times, however these are spelled; one without a time stays behind the one before it. */
function inTime(orders: Order[]): Order[] {
  let last = Number.NEGATIVE_INFINITY;
  const timed = orders.map((order) => {
    const at = parseTimeMs(order.ts) + Number(`0.${BELOW_MS.exec(String(order.ts))?.[1] ?? 0}`);
    if (!Number.isNaN(at)) last = at;
    return { order, at: last };
  });
  return timed.sort((a, b) => (a.at === b.at ? 0 : a.at - b.at)).map(({ order }) => order);
}

function isFilled({ side, status, quantity, price }: Order): boolean {
  if (isOne(status || "FILLED", UNFILLED) || !(isOne(side, BOUGHT) || isOne(side, SOLD))) return false;
  return isNumber(quantity) && quantity > 0 && isNumber(price);
}

function isOne(word: string | null, words: string[]): boolean {
  return words.includes(String(word).toUpperCase());
}
