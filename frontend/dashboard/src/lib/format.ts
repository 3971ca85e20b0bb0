/** Numbers as traders read them. Pure; `null`, `undefined` and what is not finite become a dash. */

type Maybe = number | null | undefined;

const DASH = "–";
const MINUS = "−";

const cached = new Map<string, Intl.NumberFormat>();

function formatter(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = JSON.stringify(options);
  let format = cached.get(key);
  if (!format) {
    format = new Intl.NumberFormat("en-US", options);
    cached.set(key, format);
  }
  return format;
}

function shown(value: Maybe, options: Intl.NumberFormatOptions): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  return formatter(options).format(value).replace("-", MINUS);
}

export const price = (value: Maybe, digits = 2) =>
  shown(value, { minimumFractionDigits: digits, maximumFractionDigits: digits });
/** Shares, coins, contracts: as many digits as they have. */
export const quantity = (value: Maybe) => shown(value, { maximumFractionDigits: 8 });
export const money = (value: Maybe) => shown(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const count = (value: Maybe) => shown(value, { maximumFractionDigits: 0 });
export const ratio = (value: Maybe) => shown(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const compact = (value: Maybe) => shown(value, { notation: "compact", maximumFractionDigits: 1 });

/** A share as per cent; with a sign where the direction matters. */
export function percent(value: Maybe, signed = false): string {
  return shown(value, {
    style: "percent",
    minimumFractionDigits: 2,
    maximumFractionDigits: 2,
    ...(signed ? { signDisplay: "exceptZero" as const } : {}),
  });
}

export function bytes(value: Maybe): string {
  if (value === null || value === undefined) return DASH;
  if (value < 1000) return `${count(value)} B`;
  return value < 1e6 ? `${shown(value / 1e3, { maximumFractionDigits: 1 })} kB` : `${ratio(value / 1e6)} MB`;
}

export function milliseconds(value: Maybe): string {
  if (value === null || value === undefined) return DASH;
  return value < 10 ? `${shown(value, { maximumFractionDigits: 1 })} ms` : `${count(value)} ms`;
}

/** Below this a share is shown as 0.00%. */
const NAUGHT = 0.00005;

/** "gain", "loss" or nothing, for the colour of a signed value; the sign says it without colour. */
export function tone(value: Maybe): "gain" | "loss" | undefined {
  if (!value || Math.abs(value) < NAUGHT) return undefined;
  return value > 0 ? "gain" : "loss";
}
