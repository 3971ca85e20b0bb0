import { screen, waitFor, within } from "@testing-library/react";
import { BffError, type RunPage } from "bff-client";
import { expect, test } from "vitest";
import { COLUMNS, METRIC_COLUMNS } from "../../../src/features/runs/columns.tsx";
import { defect, listedRun, page } from "../../support/data.ts";
import { fakeClient, never, openPage } from "../../support/page.tsx";

const rows = () => screen.getAllByRole("row").slice(1);

test("while the list is loading the page says so, and the table is busy", () => {
  const { container } = openPage("/", fakeClient({ listRuns: () => never<RunPage>() }));
  expect(screen.getByRole("heading", { name: "Runs" })).toBeDefined();
  expect(screen.getByText("loading")).toBeDefined();
  expect(container.querySelector("[aria-busy=true] table")).not.toBeNull();
});

test("every row has a cell for each column and for Play, which only a finished run has", async () => {
  const items = [listedRun("a"), listedRun("b", { status: "ERROR", metrics: null, metrics_state: "missing" })];
  openPage("/", fakeClient({ listRuns: async () => page(items) }));
  expect(await screen.findByText("2 shown")).toBeDefined();
  expect(screen.getAllByRole("columnheader")).toHaveLength(COLUMNS.length + 1);
  for (const row of rows()) expect(row.children).toHaveLength(COLUMNS.length + 1);
  const [done, failed] = rows() as [HTMLElement, HTMLElement];
  expect(within(done).getByText("+10.00%").className).toContain("gain");
  expect(within(done).getByRole("link", { name: /Play/ })).toBeDefined();
  expect(within(failed).queryByRole("link", { name: /Play/ })).toBeNull();
  expect(within(failed).getAllByText("–")).toHaveLength(METRIC_COLUMNS.length);
});

test("metrics that are pending take the room of all metric columns", async () => {
  const pending = listedRun("a", { metrics: null, metrics_state: "pending" });
  openPage("/", fakeClient({ listRuns: async () => page([pending]) }));
  const cell = await screen.findByText("metrics pending");
  const { children } = cell.parentElement as HTMLElement;
  const width = [...children].reduce((sum, each) => sum + (each as HTMLTableCellElement).colSpan, 0);
  expect(width).toBe(COLUMNS.length + 1);
});

test("an empty list says that no run fits", async () => {
  openPage("/?symbol=NOPE", fakeClient({ listRuns: async () => page([]) }));
  expect(await screen.findByText("No run fits these filters.")).toBeDefined();
});

test("a list that cannot be read says why, by which id, and can be asked for again", async () => {
  const client = fakeClient();
  client.listRuns.mockRejectedValueOnce(defect("so it is"));
  const { user } = openPage("/", client);
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("The list could not be read: so it is");
  expect(alert.textContent).toContain("INTERNAL");
  expect(alert.textContent).toContain("id-7");
  await user.click(within(alert).getByRole("button", { name: "Retry" }));
  await screen.findByText("1 shown");
  expect(screen.queryByRole("alert")).toBeNull();
});

test("a failure that may pass is tried again before anybody hears of it", async () => {
  const client = fakeClient();
  client.listRuns.mockRejectedValueOnce(new BffError("BACKEND_UNAVAILABLE", "away", { status: 502 }));
  openPage("/", client);
  await screen.findByText("1 shown");
  expect(client.listRuns).toHaveBeenCalledTimes(2);
});

test("a list that cannot be read again stays on the screen beside the failure", async () => {
  const client = fakeClient();
  const { queries } = openPage("/", client);
  await screen.findByText("1 shown");
  client.listRuns.mockRejectedValue(defect("gone"));
  await queries.invalidateQueries({ queryKey: ["runs"] });
  expect((await screen.findByRole("alert")).textContent).toContain("gone");
  expect(rows()).toHaveLength(1);
});

test("a stale list says that the backend is away", async () => {
  openPage("/", fakeClient({ listRuns: async () => page([listedRun("a")], { stale: true }) }));
  expect(await screen.findByText(/The backend is away/)).toBeDefined();
  expect(rows()).toHaveLength(1);
});

test("a column's button sorts by it, in either direction, and the address says so", async () => {
  const sharpe = (id: string, value: number) => listedRun(id, { symbol: id, metrics: { sharpe_ratio: value } });
  const items = [sharpe("LOW", 0.1), sharpe("HIGH", 2), sharpe("MID", 1)];
  const { user } = openPage("/", fakeClient({ listRuns: async () => page(items) }));
  await screen.findByText("3 shown");
  const names = () => rows().map((row) => within(row).getByRole("rowheader").textContent?.split(" ")[0]);
  await user.click(screen.getByRole("button", { name: /Sharpe/ }));
  expect(names()).toEqual(["HIGH", "MID", "LOW"]);
  expect(location.search).toBe("?sort=sharpe_ratio");
  expect(screen.getByRole("columnheader", { name: /Sharpe/ }).getAttribute("aria-sort")).toBe("descending");
  await user.click(screen.getByRole("button", { name: /Sharpe/ }));
  expect(names()).toEqual(["LOW", "MID", "HIGH"]);
});

test("a symbol that no run has as it was typed is offered in capitals", async () => {
  const listRuns = async ({ symbol }: { symbol?: string }) => page(symbol === "MSFT" ? [listedRun("a")] : []);
  const { user } = openPage("/?symbol=msft", fakeClient({ listRuns }));
  await user.click(await screen.findByRole("link", { name: "Look for MSFT" }));
  await screen.findByText("1 shown");
  expect(location.search).toBe("?symbol=MSFT");
});

test("a filter is applied a moment after the last key", async () => {
  const { user, client } = openPage("/");
  await screen.findByText("1 shown");
  await user.type(screen.getByLabelText("Symbol"), "AMpB");
  await waitFor(() => expect(location.search).toBe("?symbol=AMpB"));
  expect(client.listRuns.mock.lastCall?.[0]).toMatchObject({ symbol: "AMpB" });
});

test("a run that cannot be started says why; sent again it has the same key, and opens", async () => {
  const client = fakeClient();
  client.createRun.mockRejectedValueOnce(new BffError("VALIDATION", "fast must be below slow", { status: 422 }));
  const { user } = openPage("/", client);
  await user.click(await screen.findByRole("button", { name: "New run" }));
  await user.click(screen.getByRole("button", { name: "Start run" }));
  expect((await screen.findByRole("alert")).textContent).toContain("fast must be below slow");
  await user.click(screen.getByRole("button", { name: "Start run" }));
  await waitFor(() => expect(location.search).toBe("?run=new"));
  const keys = client.createRun.mock.calls.map(([, options]) => options?.idempotencyKey);
  expect(keys[0]).toBe(keys[1]);
});

test("a backend that says when it may be asked again is left alone until then, and the failure is shown at once", async () => {
  const client = fakeClient();
  client.listRuns.mockRejectedValue(new BffError("BUSY", "too many", { status: 503, retryAfterMs: 30_000 }));
  openPage("/", client);
  expect((await screen.findByRole("alert")).textContent).toContain("BUSY");
  expect(client.listRuns).toHaveBeenCalledOnce();
});

test("runs of one status are shown, and the address says of which", async () => {
  const items = [listedRun("a"), listedRun("b", { status: "ERROR" }), listedRun("c")];
  const { user } = openPage("/", fakeClient({ listRuns: async () => page(items) }));
  await screen.findByText("3 shown");
  await user.selectOptions(screen.getByLabelText("Status"), "error");
  expect(screen.getByText("1 shown")).toBeDefined();
  expect(location.search).toBe("?status=ERROR");
});

test("a list that does not fit a page has pages", async () => {
  const items = Array.from({ length: 30 }, (_, index) => listedRun(`run${index}`));
  const { user } = openPage("/", fakeClient({ listRuns: async () => page(items) }));
  await screen.findByText("Page 1 of 2");
  expect(rows()).toHaveLength(25);
  expect(screen.getByRole("button", { name: "Newer" })).toHaveProperty("disabled", true);
  await user.click(screen.getByRole("button", { name: "Older" }));
  expect(screen.getByText("Page 2 of 2")).toBeDefined();
  expect(rows()).toHaveLength(5);
  expect(location.search).toBe("?page=2");
});

test("older runs are loaded when they are asked for, as many as a list may have", async () => {
  const client = fakeClient({ listRuns: async () => ({ ...page([listedRun("a")]), total: 900 }) });
  const { user } = openPage("/", client);
  for (const limit of [100, 200, 300, 400]) {
    await screen.findByText(`1 shown of the newest ${limit}; there are 900`);
    const older = screen.getByRole("button", { name: "Load older" });
    await waitFor(() => expect(older).toHaveProperty("disabled", false));
    await user.click(older);
  }
  expect(await screen.findByText("narrow by symbol or strategy for older ones")).toBeDefined();
  await waitFor(() => expect(client.listRuns.mock.lastCall?.[0]).toMatchObject({ limit: 500 }));
});

test("a run that is being started says so and is not started twice, and the dialog can be left", async () => {
  const client = fakeClient({ createRun: () => never() });
  const { user } = openPage("/", client);
  await user.click(await screen.findByRole("button", { name: "New run" }));
  await user.click(screen.getByRole("button", { name: "Start run" }));
  const starting = await screen.findByRole("button", { name: "Starting…" });
  expect(starting).toHaveProperty("disabled", true);
  await user.click(screen.getByRole("button", { name: "Cancel" }));
  await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
  expect(client.createRun).toHaveBeenCalledOnce();
});
