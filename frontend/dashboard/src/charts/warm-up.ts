/** Draws charts that nobody sees, so that the browser has translated the code by the time somebody waits for one. */

import { REGULAR_MINUTES } from "bff-client/lib/sessions";
import { DAY, isoTime } from "bff-client/lib/time";
import { EquityChart } from "./equity-chart.ts";
import { equityPoints } from "./equity-points.ts";
import { timedOrders } from "./order-markers.ts";
import { PriceChart } from "./price-chart.ts";

const BARS = 250;
const FRAMES = 3;
const FIRST = Date.UTC(2024, 0, 2, 14, 30) / 1000;

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

function place(): HTMLElement {
  const box = document.body.appendChild(document.createElement("div"));
  box.className = "warm-up";
  box.setAttribute("aria-hidden", "true");
  return box;
}

function drawPrices(box: HTMLElement): PriceChart {
  const ignore = () => undefined;
  const chart = new PriceChart(box, { range: ignore, bar: ignore, marks: ignore });
  const t = Array.from({ length: BARS }, (_, index) => FIRST + index * DAY);
  const wave = t.map((_, index) => 100 + 10 * Math.sin(index / 9));
  const columns = { t, o: wave, h: wave.map((y) => y + 1), l: wave.map((y) => y - 1), c: wave, v: wave };
  chart.setBars(
    columns,
    REGULAR_MINUTES,
    { from: FIRST, to: t.at(-1) ?? FIRST },
    { from: FIRST, to: t.at(-1) ?? FIRST },
  );
  const orders = t.map((time, index) => ({
    ts: isoTime(time),
    side: index % 2 ? "SELL" : "BUY",
    quantity: 1,
    price: 1,
  }));
  chart.setOrders(timedOrders(orders));
  return chart;
}

function drawEquity(box: HTMLElement): EquityChart {
  const chart = new EquityChart(box);
  const rows = Array.from({ length: BARS }, (_, index) => ({
    ts: isoTime(FIRST + index * DAY),
    value: 1e5 + 1e3 * Math.sin(index / 9),
  }));
  chart.setPoints(equityPoints(rows));
  return chart;
}

/** Draw one chart of each kind out of sight, let it be seen through some frames, and take it away. */
export async function warmUp(idle: () => Promise<unknown>): Promise<void> {
  for (const draw of [drawPrices, drawEquity]) {
    await idle();
    const box = place();
    const chart = draw(box);
    for (let index = 0; index < FRAMES; index += 1) await frame();
    chart.dispose();
    box.remove();
  }
}
