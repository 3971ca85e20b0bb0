import type { CompleteRun, Order } from "bff-client";
import { priceFormatOf } from "bff-client/lib/price-format";
import { parseTime } from "bff-client/lib/time";
import { type ReactNode, useDeferredValue, useMemo, useState } from "react";
import { count, price, quantity } from "../../lib/format.ts";
import { newYork } from "../../lib/time.ts";

const PAGE = 50;
const NONE: Order[] = [];

/** Return the digits of the orders' prices, from 500 of them at most. */
function digitsOf(orders: readonly Order[]): number {
  const prices = orders.slice(0, 500).flatMap(({ price }) => (typeof price === "number" ? [price] : []));
  return priceFormatOf(prices).digits;
}

function Row({ order, digits }: { order: Order; digits: number }) {
  const time = parseTime(order.ts);
  const sell = order.side?.toUpperCase() === "SELL";
  return (
    <tr>
      <td className="when">{time === undefined ? "–" : newYork(time, "full")}</td>
      <td className={sell ? "loss" : "gain"}>{order.side ?? "–"}</td>
      <td className="number">{quantity(order.quantity)}</td>
      <td className="number">{price(order.price, digits)}</td>
      <td>{order.order_type ?? "–"}</td>
      <td>{order.status ?? "–"}</td>
      <td className="number">{price(order.commission)}</td>
    </tr>
  );
}

export function OrdersPanel({ data, mark }: { data: CompleteRun; mark: ReactNode }) {
  const orders = data.orders ?? NONE;
  // The charts are drawn first; hundreds of cells wait for a frame.
  const ready = useDeferredValue(true, false);
  const [page, setPage] = useState(0);
  const digits = useMemo(() => digitsOf(orders), [orders]);
  const pages = Math.max(1, Math.ceil(orders.length / PAGE));
  const at = Math.min(page, pages - 1);
  return (
    <section className="card orders" aria-labelledby="orders">
      <header>
        <h2 id="orders">Orders</h2>
        <span className="muted">{count(data.metadata.orders_count ?? orders.length)}</span>
        {mark}
        <span className="spacer" />
        {pages > 1 && (
          <nav className="pager" aria-label="Pages of orders">
            <button type="button" disabled={at === 0} onClick={() => setPage(at - 1)}>
              Earlier
            </button>
            <span>
              {at + 1} / {pages}
            </span>
            <button type="button" disabled={at >= pages - 1} onClick={() => setPage(at + 1)}>
              Later
            </button>
          </nav>
        )}
      </header>
      {!ready ? (
        <div className="tall waiting" />
      ) : orders.length > 0 ? (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable by keyboard
        <section className="scroll tall" tabIndex={0} aria-label="Table of orders">
          <table>
            <caption className="unseen">Orders of this run</caption>
            <thead>
              <tr>
                <th scope="col">Time (ET)</th>
                <th scope="col">Side</th>
                <th scope="col" className="number">
                  Quantity
                </th>
                <th scope="col" className="number">
                  Price
                </th>
                <th scope="col">Type</th>
                <th scope="col">Status</th>
                <th scope="col" className="number">
                  Commission
                </th>
              </tr>
            </thead>
            <tbody>
              {orders.slice(at * PAGE, (at + 1) * PAGE).map((order, index) => (
                <Row key={`${at}-${String(order.order_id ?? index)}`} order={order} digits={digits} />
              ))}
            </tbody>
          </table>
        </section>
      ) : (
        <p className="note">There are no orders.</p>
      )}
    </section>
  );
}
