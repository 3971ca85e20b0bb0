/** How many returns of an equity curve make a year, from the spacing of its points, as the BFF tells it. Pure. */

const DAY_MS = 86_400_000;
const SESSIONS = 252;
const DAYS = 365;
const WEEKS = 52;
/** The share of distances that have to be equal. */
const EVEN = 0.8;
const SHORTEST_SESSION_MS = 6 * 3_600_000;
const NEARLY_A_DAY_MS = 23.5 * 3_600_000;
/** Of days since the epoch, a Thursday, modulo 7. */
const SATURDAY = 2;

/** Return the number for ascending times in milliseconds; null where they are too few, uneven, or do not tell. */
export function periodsPerYear(at: readonly number[]): number | null {
  if (at.length < 3) return null;
  const perDate = new Map<number, number>();
  for (const ms of at) perDate.set(dateOf(ms), (perDate.get(dateOf(ms)) ?? 0) + 1);
  const dates = [...perDate.keys()];
  const counts = [...perDate.values()].sort((a, b) => a - b);
  return median(counts) === 1 ? byDays(dates) : withinDays(at, dates, counts);
}

function byDays(dates: number[]): number | null {
  const days = distances(dates);
  if (areAll(days, 7)) return WEEKS;
  if (tradesOnSaturdays(dates)) return areAll(days, 1) ? DAYS : null;
  return areAll(distances(dates.map(weekdaysBefore)), 1) ? SESSIONS : null;
}

function withinDays(at: readonly number[], dates: number[], counts: number[]): number | null {
  const within = distances(at).filter((_, row) => dateOf(at[row] as number) === dateOf(at[row + 1] as number));
  const distance = median([...within].sort((a, b) => a - b));
  if (!areAll(within, distance)) return null;
  const session = counts[Math.ceil(0.9 * (counts.length - 1))] as number;
  if (dates.length <= 2 && session * distance < SHORTEST_SESSION_MS) return null;
  if (tradesOnSaturdays(dates)) return session * DAYS;
  return session * distance >= NEARLY_A_DAY_MS && !spansSaturday(dates) ? null : session * SESSIONS;
}

const dateOf = (ms: number): number => Math.floor(ms / DAY_MS);

function distances(values: readonly number[]): number[] {
  return values.slice(1).map((value, row) => value - (values[row] as number));
}

function median(sorted: number[]): number {
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2;
}

function areAll(values: number[], one: number): boolean {
  return values.length > 0 && values.filter((value) => value === one).length >= EVEN * values.length;
}

function tradesOnSaturdays(dates: number[]): boolean {
  return 14 * dates.filter((date) => date % 7 === SATURDAY).length > (dates.at(-1) as number) - (dates[0] as number);
}

function spansSaturday(dates: number[]): boolean {
  const [first, last] = [dates[0] as number, dates.at(-1) as number];
  return Math.floor((first - SATURDAY - 1) / 7) !== Math.floor((last - SATURDAY) / 7);
}

/** Return how many days from Monday to Friday lie before a date, from a Monday on. */
function weekdaysBefore(date: number): number {
  const days = date - SATURDAY - 2;
  return Math.floor(days / 7) * 5 + Math.min(days - Math.floor(days / 7) * 7, 5);
}
