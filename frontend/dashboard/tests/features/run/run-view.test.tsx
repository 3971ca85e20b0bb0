import { act, screen, waitFor, within } from "@testing-library/react";
import { BffError, type Chart, type Order, type RunHead } from "bff-client";
import { expect, onTestFinished, test, vi } from "vitest";
import { EquityChart, PriceChart } from "../../support/charts.ts";
import { chart, completeRun, defect } from "../../support/data.ts";
import { deferred, fakeClient, never, openPage, view } from "../../support/page.tsx";

const opened = (parts: Parameters<typeof view>[0]) => openPage("/?run=a", fakeClient({ getView: () => view(parts) }));
const shows = (run: ReturnType<typeof completeRun>) => opened({ run: Promise.resolve(run) });

test("a run of which nothing has come is loading", async () => {
  opened({ chart: never<Chart>() });
  expect(await screen.findByText("Loading the run…")).toBeDefined();
});

test("its head is shown as soon as it is there, with the chart, before the rest", async () => {
  const { run } = completeRun("a");
  const { symbol, run_from, run_to } = run;
  opened({ head: Promise.resolve({ run_id: "a", symbol, run_from, run_to, status: "DONE" } as RunHead) });
  expect(await screen.findByRole("heading", { level: 1, name: "AAPL" })).toBeDefined();
  expect(screen.getByText("Loading the run…")).toBeDefined();
  await waitFor(() => expect(PriceChart.shown?.t).toHaveLength(3));
  expect(screen.queryByRole("heading", { name: "Orders" })).toBeNull();
});

test("a run that is there shows its figures, equity and orders; what was computed is marked", async () => {
  shows(completeRun("a"));
  expect((await screen.findByText("+5.00%")).className).toBe("gain");
  expect(screen.getByText("Sharpe ratio").textContent).toBe("Sharpe ratio *");
  expect(screen.getByText("* computed from equity and orders")).toBeDefined();
  await waitFor(() => expect(EquityChart.shown.map(({ value }) => value)).toEqual([1000, 900, 1050]));
  expect(screen.getByRole("img", { name: /deepest drawdown 10.00%/ })).toBeDefined();
  const table = await screen.findByRole("table", { name: "Orders of this run" });
  expect(within(table).getAllByRole("row")).toHaveLength(3);
  expect(screen.getByRole("link", { name: "Play this run" })).toBeDefined();
});

test("a run that cannot be read says why, by which id, and can be asked for again", async () => {
  const client = fakeClient();
  client.getView.mockReturnValueOnce(view({ run: Promise.reject(defect("so it is")) }));
  const { user } = openPage("/?run=a", client);
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("The run could not be read: so it is");
  expect(alert.textContent).toContain("id-7");
  await user.click(within(alert).getByRole("button", { name: "Retry" }));
  expect(await screen.findByRole("link", { name: "Play this run" })).toBeDefined();
});

test("a run that cannot be read again stays, beside the failure", async () => {
  const client = fakeClient();
  const { queries } = openPage("/?run=a", client);
  await screen.findByText("+5.00%");
  client.getRun.mockRejectedValue(defect("gone"));
  await queries.invalidateQueries({ queryKey: ["run", "a"] });
  expect((await screen.findByRole("alert")).textContent).toContain("The run could not be read again: gone");
  expect(screen.getByText("+5.00%")).toBeDefined();
});

test.each(["RUNNING", "QUEUED", "PAUSED"])("a run that is %s is waited for, and cannot be played", async (status) => {
  shows(completeRun("a", { metrics: "missing", equity: "missing", orders: "missing" }, { status }));
  expect(await screen.findByText(`The run is ${status.toLowerCase()}: its metrics appear here when it is done.`));
  expect(screen.queryByRole("link", { name: "Play this run" })).toBeNull();
});

test("a part that failed says so where it belongs, and is had again alone", async () => {
  const { user, client } = shows(completeRun("a", { orders: "failed" }));
  expect(await screen.findByText(/This run is incomplete: orders \(failed\)/)).toBeDefined();
  await user.click(await screen.findByRole("button", { name: "Retry orders" }));
  await screen.findByRole("table", { name: "Orders of this run" });
  expect(client.getRun.mock.lastCall?.[1]).toEqual({ include: ["orders"] });
  expect(screen.queryByText(/Not all of this run/)).toBeNull();
  expect(screen.getByText("+5.00%")).toBeDefined();
});

test("a part that fails again keeps its mark, and can be asked for once more", async () => {
  const client = fakeClient({ getView: () => view({ run: Promise.resolve(completeRun("a", { equity: "failed" })) }) });
  const { user } = openPage("/?run=a", client);
  client.getRun.mockRejectedValueOnce(defect("still"));
  const retry = await screen.findByRole("button", { name: "Retry equity" });
  await user.click(retry);
  await waitFor(() => expect(screen.getByRole("button", { name: "Retry equity" })).toHaveProperty("disabled", false));
  expect(screen.getByText(/equity \(failed\)/)).toBeDefined();
});

test("a part that there is none of says so, and offers no retry", async () => {
  shows(completeRun("a", { metrics: "missing", equity: "missing", orders: "missing" }));
  for (const text of ["There are no metrics.", "There is no equity curve.", "There are no orders."]) {
    expect(await screen.findByText(text)).toBeDefined();
  }
  expect(screen.getAllByText("none")).toHaveLength(3);
  expect(screen.queryByRole("button", { name: /Retry/ })).toBeNull();
});

test("a stale run says that the backend is away", async () => {
  shows(completeRun("a", { run: "stale" }));
  expect(await screen.findByText(/The backend is away: showing the last known version of the run/)).toBeDefined();
});

test("a chart that cannot be read fails alone, and can be asked for again", async () => {
  const client = fakeClient({
    getView: () => view({ run: Promise.resolve(completeRun("a")), chart: Promise.reject(defect("no bars")) }),
  });
  client.getChart.mockRejectedValueOnce(defect("no bars"));
  const { user } = openPage("/?run=a", client);
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("The chart could not be read: no bars");
  expect(await screen.findByText("+5.00%")).toBeDefined();
  await user.click(within(alert).getByRole("button", { name: "Retry" }));
  expect(await screen.findByText(/^3 bars/)).toBeDefined();
  expect(screen.queryByRole("alert")).toBeNull();
});

test("a stale chart says so, and one of fewer bars says of what size they are", async () => {
  opened({
    run: Promise.resolve(completeRun("a")),
    chart: Promise.resolve(chart({ stale: true, decimated: true, source_bars: 8000, decimation_stride: 60 })),
  });
  expect(await screen.findByText("stale: the backend is away")).toBeDefined();
  expect(screen.getByText(/^3 bars of 1 h, from 8,000/)).toBeDefined();
});

test("a timeframe that is pressed is in the address, and its bars are asked for", async () => {
  const { user, client } = shows(completeRun("a"));
  await screen.findByText(/^3 bars/);
  await user.click(screen.getByRole("button", { name: "1 min, minutes" }));
  expect(location.search).toBe("?run=a&tf=1min");
  await waitFor(() => expect(client.getChart.mock.lastCall?.[0]).toMatchObject({ timeframe: "1M", symbol: "AAPL" }));
  expect(screen.getByRole("button", { name: "1 min, minutes" }).getAttribute("aria-pressed")).toBe("true");
  await user.click(screen.getByRole("button", { name: "5 min, five minutes" }));
  expect(location.search).toBe("?run=a&tf=5min");
  await waitFor(() => expect(client.getChart.mock.lastCall?.[0]).toMatchObject({ timeframe: "5M" }));
});

test("a run that there is not says so, and is not asked for again by itself", async () => {
  const unknown = new BffError("RUN_NOT_FOUND", "run not found", { status: 404 });
  const { client } = opened({ run: Promise.reject(unknown) });
  expect((await screen.findByRole("alert")).textContent).toContain("RUN_NOT_FOUND");
  expect(client.getView).toHaveBeenCalledOnce();
});

test("a part that came too late is asked for again by itself", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  onTestFinished(() => void vi.useRealTimers());
  const { client } = shows(completeRun("a", { orders: "timeout" }));
  expect(await screen.findByText(/This run is incomplete: orders \(timeout\)/)).toBeDefined();
  expect(client.getRun).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1500);
  expect(await screen.findByRole("table", { name: "Orders of this run" })).toBeDefined();
  expect(client.getRun).toHaveBeenCalledOnce();
});

test("while newer bars are loading, and where they cannot be read, the old ones stay", async () => {
  const { user, client } = shows(completeRun("a"));
  await screen.findByText(/^3 bars/);
  const loading = deferred<Chart>();
  client.getChart.mockReturnValue(loading.promise);
  await user.click(screen.getByRole("button", { name: "1 h, hours" }));
  expect(await screen.findByText(/^3 bars.*, loading$/)).toBeDefined();
  await act(async () => loading.reject(defect("no bars")));
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("These bars are not the latest; newer ones could not be read: no bars");
  expect(screen.getByText(/^3 bars/)).toBeDefined();
  client.getChart.mockResolvedValue(chart({ total_bars: 70 }));
  await user.click(within(alert).getByRole("button", { name: "Retry" }));
  expect(await screen.findByText(/^70 bars/)).toBeDefined();
  expect(screen.queryByRole("alert")).toBeNull();
});

test("orders that do not fit a page have pages", async () => {
  const run = completeRun("a");
  const [order] = run.orders ?? [];
  const orders = Array.from({ length: 60 }, (_, index) => ({ ...order, order_id: String(index) }) as Order);
  const { user } = shows({ ...run, orders });
  await screen.findByText("1 / 2");
  await user.click(screen.getAllByRole("button", { name: "Later" }).at(-1) as HTMLElement);
  expect(screen.getByText("2 / 2")).toBeDefined();
  expect(within(screen.getByRole("table", { name: "Orders of this run" })).getAllByRole("row")).toHaveLength(11);
});
