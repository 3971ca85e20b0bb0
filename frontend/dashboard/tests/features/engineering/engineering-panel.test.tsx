import { screen, within } from "@testing-library/react";
import type { Report } from "bff-client";
import { beforeEach, expect, test, vi } from "vitest";
import { compareSides } from "../../../src/features/engineering/compare-sides.ts";
import { recordReport, resetCosts } from "../../../src/features/engineering/visit-costs.ts";
import { defect } from "../../support/data.ts";
import { never, openPage } from "../../support/page.tsx";

vi.mock("../../../src/features/engineering/compare-sides.ts", () => ({ compareSides: vi.fn() }));

const report: Report = { call: "listRuns", group: "run_data", side: "bff", requests: 1, bytes: 1500, ms: 12 };
const cost = { calls: 4, bytes: 8000, ms: 100, cache: "", fallbacks: 0, errors: 0 };

beforeEach(() => resetCosts());

async function opened() {
  const shown = openPage("/");
  await screen.findByText("1 shown");
  await shown.user.keyboard("`");
  return { ...shown, panel: within(screen.getByRole("complementary", { name: "Engineering" })) };
}

test("a key opens the panel, Escape closes it, and typing does neither", async () => {
  const { user } = await opened();
  await user.keyboard("{Escape}");
  expect(screen.queryByRole("complementary")).toBeNull();
  await user.type(screen.getByLabelText("Symbol"), "`");
  expect(screen.queryByRole("complementary")).toBeNull();
});

test("a flag is switched for this browser, and given back", async () => {
  const { user, panel } = await opened();
  const flag = panel.getByRole("switch", { name: /chart_data/ });
  expect(flag.getAttribute("aria-checked")).toBe("true");
  await user.click(flag);
  expect(flag.getAttribute("aria-checked")).toBe("false");
  expect(panel.getByText("set in this browser")).toBeDefined();
  await user.click(panel.getByRole("button", { name: "Reset chart_data" }));
  expect(panel.getByRole("switch", { name: /chart_data/ }).getAttribute("aria-checked")).toBe("true");
});

test("both sides are measured and compared", async () => {
  vi.mocked(compareSides).mockResolvedValueOnce({ legacy: cost, bff: { ...cost, calls: 1, cache: "bff; hit" } });
  const { user, panel } = await opened();
  await user.click(panel.getByRole("button", { name: "Measure both" }));
  const table = within(await panel.findByRole("table", { name: "Measured just now" }));
  expect(table.getByRole("row", { name: "Calls 4 1 75.00%" })).toBeDefined();
  expect(table.getByRole("row", { name: /^Cache none hit/ })).toBeDefined();
});

test("measuring takes a while, and says so", async () => {
  vi.mocked(compareSides).mockReturnValueOnce(never());
  const { user, panel } = await opened();
  await user.click(panel.getByRole("button", { name: "Measure both" }));
  expect(panel.getByRole("button", { name: "Measuring…" })).toHaveProperty("disabled", true);
});

test("a measurement that fails says why", async () => {
  vi.mocked(compareSides).mockRejectedValueOnce(defect("one side is away"));
  const { user, panel } = await opened();
  await user.click(panel.getByRole("button", { name: "Measure both" }));
  expect((await panel.findByRole("alert")).textContent).toContain("Measuring failed: one side is away");
});

test("calls of this visit are counted by view, those that fell back are listed, and counts can be reset", async () => {
  recordReport(report);
  recordReport({ ...report, side: "legacy", fallback: true, error: { code: "NETWORK", correlationId: "id-9" } });
  const { user, panel } = await opened();
  expect(panel.getByRole("table", { name: "List of runs" })).toBeDefined();
  expect(panel.getByText(/id-9/).textContent).toContain("listRuns: NETWORK");
  await user.click(panel.getByRole("button", { name: "Reset counts" }));
  expect(panel.queryByRole("table", { name: "List of runs" })).toBeNull();
});
