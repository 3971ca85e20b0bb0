/**
 * The fields of bars in whatever spelling means one thing only, as the BFF reads them: `open` for `o`, numbers as texts,
 * stamps that count from the epoch in the unit that the size of the largest one tells. Pure.
 */

import { isObject } from "../errors.ts";
import { parseTimeMs } from "../lib/time.ts";

const NAMES = {
  t: ["t", "timestamp", "ts", "ts_utc", "time", "date", "datetime"],
  o: ["o", "open"],
  h: ["h", "high"],
  l: ["l", "low"],
  c: ["c", "close"],
  v: ["v", "volume", "vol"],
} as const;
const NUMBER = /^\s*-?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,3})?\s*$/;
/** A number of so many units and fewer is a stamp in that unit; what lies between two of them may be either. */
const UNITS = [
  { most: 1e10, unit: 1 },
  { most: 1e13, unit: 1e3 },
  { most: 1e16, unit: 1e6 },
  { most: 1e19, unit: 1e9 },
] as const;

/** A bar as it was understood; NaN where a field is not there, a volume null. */
export interface ReadBar {
  t: number;
  o: number;
  h: number;
  l: number;
  c: number;
  v: number | null;
}

const REQUIRED = ["t", "o", "h", "l", "c"] as const;

export function isUsable(bar: ReadBar): boolean {
  return REQUIRED.every((name) => Number.isFinite(bar[name]));
}

/** Return the names of the fields that no bar has. */
export function absentFields(bars: readonly ReadBar[]): string {
  const absent = REQUIRED.filter((name) => !bars.some((bar) => Number.isFinite(bar[name])));
  return absent.map((name) => `\`${name}\``).join(", ");
}

export function readFields(rows: readonly unknown[]): ReadBar[] {
  const stamps = rows.map((row) => field(row, "t"));
  const unit = unitOf(stamps);
  return rows.map((row, index) => {
    const stamp = stamps[index];
    const seconds = typeof stamp === "number" ? stamp / (unit ?? Number.NaN) : parseTimeMs(stamp) / 1000;
    const volume = number(field(row, "v"));
    return {
      t: Math.floor(seconds),
      o: number(field(row, "o")),
      h: number(field(row, "h")),
      l: number(field(row, "l")),
      c: number(field(row, "c")),
      v: Number.isFinite(volume) ? volume : null,
    };
  });
}

function field(row: unknown, name: keyof typeof NAMES): unknown {
  if (!isObject(row)) return undefined;
  return row[NAMES[name].find((known) => row[known] != null) ?? name];
}

function number(value: unknown): number {
  if (typeof value === "number") return value;
  return typeof value === "string" && NUMBER.test(value) ? Number(value) : Number.NaN;
}

function unitOf(stamps: readonly unknown[]): number | undefined {
  const largest = stamps.reduce<number>(
    (most, stamp) => (typeof stamp === "number" && Math.abs(stamp) > most ? Math.abs(stamp) : most),
    0,
  );
  const found = UNITS.find(({ most }) => largest < most);
  return found && (found.unit === 1 || largest >= found.most / 100) ? found.unit : undefined;
}
