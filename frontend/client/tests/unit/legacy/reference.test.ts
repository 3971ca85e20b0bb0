/** Charts of instruments that `tests/frontend/test_legacy_charts.py` draws, beside what it computes slowly and obviously. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { RequestContext } from "../../../src/http/request-context.ts";
import { getChart } from "../../../src/legacy/charts.ts";
import type { ChartQuery, Columns } from "../../../src/types.ts";

interface Case {
  bars: { t: string }[];
  query: ChartQuery;
  stride: number;
  columns: Columns;
}

const file = process.env["CHART_CASES"];
const cases: Case[] = file ? JSON.parse(readFileSync(file, "utf8")) : [];

/** A backend that has these bars. */
function backend(bars: Case["bars"]): RequestContext {
  const get = async (_: string, { from = "0", to = "9" }: Record<string, string>) => ({
    bars: bars.filter(({ t }) => t.slice(0, 10) >= from && t.slice(0, 10) <= to),
  });
  return { requests: 0, get } as unknown as RequestContext;
}

describe.skipIf(cases.length === 0)("the legacy side", () => {
  test.each([...cases.entries()])("case %i", async (_, { bars, query, stride, columns }) => {
    const { columns: made, metadata } = await getChart(backend(bars), query);
    for (const name of ["t", "o", "h", "l", "c"] as const) expect(made[name]).toEqual(columns[name]);
    for (const [row, volume] of columns.v.entries()) {
      if (volume === null) expect(made.v[row]).toBeNull();
      else expect(made.v[row]).toBeCloseTo(volume, 5);
    }
    expect(metadata.decimation_stride).toBe(stride);
  });
});
