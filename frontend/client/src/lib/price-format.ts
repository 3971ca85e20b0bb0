/**
 * How many digits the prices of an instrument have, and its smallest step, worked out from prices as the BFF does it: the
 * fewest digits, two at least, that nine in ten prices need; five significant ones for prices on no grid. Pure.
 */

export interface PriceFormat {
  /** Digits behind the point. */
  digits: number;
  /** The smallest difference of two prices. */
  min_move: number;
}

export const DEFAULT_PRICE_FORMAT: PriceFormat = { digits: 2, min_move: 0.01 };

const [LEAST, MOST] = [2, 8];
const ENOUGH = 0.9;
const SIGNIFICANT = 5;
const TELLING = 20;
const STEPS = [25, 5, 2];

export function priceFormatOf(prices: readonly number[]): PriceFormat {
  for (let digits = LEAST; digits <= MOST; digits += 1) {
    const scale = 10 ** digits;
    const onGrid = prices.filter((price) => Math.round(price * scale) / scale === price);
    if (onGrid.length >= ENOUGH * prices.length) {
      return { digits, min_move: step(new Set(onGrid.map((price) => Math.round(price * scale))), digits) };
    }
  }
  const sizes = prices.map(Math.abs).sort((one, other) => one - other);
  const size = sizes[Math.floor(sizes.length / 2)] ?? 0;
  const magnitude = size > 0 ? Math.floor(Math.log10(size)) : 0;
  const digits = Math.min(MOST, Math.max(LEAST, SIGNIFICANT - 1 - magnitude));
  return { digits, min_move: Number(`1e-${digits}`) };
}

/** Return the largest usual step that all prices are a multiple of; few prices tell nothing of it. */
function step(ticks: ReadonlySet<number>, digits: number): number {
  const known = ticks.size >= TELLING ? STEPS : [];
  const found = known.find((each) => [...ticks].every((tick) => tick % each === 0)) ?? 1;
  return Number(`${found}e-${digits}`);
}
