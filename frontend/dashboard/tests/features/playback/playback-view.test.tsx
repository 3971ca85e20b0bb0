import { act, fireEvent, screen, waitFor, within } from "@testing-library/react";
import type { Frame } from "bff-client";
import { expect, test } from "vitest";
import { PlaybackChart } from "../../support/charts.ts";
import { defect } from "../../support/data.ts";
import { FakeStream, fakeClient, never, openPage } from "../../support/page.tsx";

/** Open the playback of a run; returns its stream as well. */
async function opened(address = "/?run=a&view=play") {
  const streams: FakeStream[] = [];
  const client = fakeClient({
    openStream: (id, options) => {
      const stream = new FakeStream(id, options);
      streams.push(stream);
      return stream;
    },
  });
  const shown = openPage(address, client);
  await screen.findByText(/^connecting/);
  // What is on the screen has yet to subscribe to the player.
  await act(async () => undefined);
  return { ...shown, stream: streams.at(-1) as FakeStream };
}

const connection = () => screen.getByRole("status", { name: "" }).textContent;

test("a run that cannot be read says why, and can be asked for again", async () => {
  const client = fakeClient();
  client.getRun.mockRejectedValueOnce(defect("so it is"));
  const { user } = openPage("/?run=a&view=play", client);
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("The run could not be read: so it is");
  expect(client.openStream).not.toHaveBeenCalled();
  await user.click(within(alert).getByRole("button", { name: "Retry" }));
  expect(await screen.findByRole("button", { name: "Play" })).toBeDefined();
});

test("the connection is told in words, with its side, and when the next try comes", async () => {
  const { stream } = await opened();
  const said: (string | null)[] = [connection()];
  for (const change of [
    { connection: "live" },
    { connection: "waiting" },
    { connection: "reconnecting", retryMs: 1200 },
    { connection: "draining" },
    { connection: "live", side: "legacy" },
    { ended: true },
  ] as const) {
    stream.becomes({ retryMs: null, ...change });
    said.push(connection());
  }
  expect(said).toEqual([
    "connecting · BFF",
    "connected · BFF",
    "waiting for the run · BFF",
    "reconnecting, next try in 2 s · BFF",
    "moving over · BFF",
    "connected · legacy",
    "at the end · legacy",
  ]);
});

test("one button plays, pauses, and begins again at the end", async () => {
  const { stream, user } = await opened();
  await user.click(screen.getByRole("button", { name: "Play" }));
  expect(stream.play).toHaveBeenCalledOnce();
  stream.becomes({ connection: "live", playing: true });
  await user.click(screen.getByRole("button", { name: "Pause" }));
  expect(stream.pause).toHaveBeenCalledOnce();
  stream.becomes({ playing: false, ended: true });
  expect(screen.getByRole("button", { name: "Again" })).toBeDefined();
});

test("keys play and step, but not while somebody types or chooses", async () => {
  const { stream, user } = await opened();
  await user.keyboard(" {ArrowRight}{ArrowLeft}");
  expect(stream.play).toHaveBeenCalledOnce();
  expect(stream.step.mock.calls).toEqual([[1], [-1]]);
  screen.getByLabelText("Speed").focus();
  await user.keyboard(" {ArrowRight}");
  expect(stream.play).toHaveBeenCalledOnce();
  expect(stream.step).toHaveBeenCalledTimes(2);
});

test("speed, rate and bars are told to the stream and the address", async () => {
  const { stream, user } = await opened();
  await user.selectOptions(screen.getByLabelText("Speed"), "240");
  await user.selectOptions(screen.getByLabelText("Frames/s"), "60");
  await user.selectOptions(screen.getByLabelText("Bars"), "15 min");
  expect(stream.speed).toHaveBeenCalledWith(240);
  expect(stream.fps).toHaveBeenCalledWith(60);
  expect(stream.bar.mock.calls).toEqual([["session"], ["session"], [15]]);
  expect(location.search).toBe("?run=a&view=play&speed=240&fps=60&bar=15");
});

test("a refused control is a warning, which the next start takes away", async () => {
  const { stream } = await opened();
  stream.becomes({ connection: "live" });
  stream.fails({ code: "RANGE", message: "pos is outside the run", fatal: false });
  expect(screen.getByText("RANGE: pos is outside the run")).toBeDefined();
  expect(screen.queryByRole("alert")).toBeNull();
  stream.becomes({ playing: true });
  expect(screen.queryByText(/RANGE/)).toBeNull();
});

test("a stream that is over for good says why", async () => {
  const { stream } = await opened();
  stream.fails({ code: "RUN_NOT_FOUND", message: "run not found", fatal: true });
  stream.becomes({ connection: "closed" });
  expect(screen.getByRole("alert").textContent).toContain("RUN_NOT_FOUND: run not found");
  expect(connection()).toBe("closed · BFF");
});

test("an address with a place in it seeks there, and the stream is closed with the view", async () => {
  const { stream, unmount } = await opened("/?run=a&view=play&speed=15&at=2024-01-10T15:00");
  expect(stream.state.speed).toBe(15);
  expect(stream.seek).toHaveBeenCalledWith("2024-01-10T15:00:00Z");
  unmount();
  expect(stream.close).toHaveBeenCalled();
});

/** The text under a label of the readouts. */
const readout = (label: string) => screen.getByText(label, { selector: "dt" }).nextElementSibling?.textContent;

/** Play the frame of a minute of the run's first session. */
const minute = (stream: FakeStream, seq: number, n = 1, rest: Partial<Frame> = {}) =>
  stream.plays({ ...rest, seq, n, ts: new Date(Date.UTC(2024, 0, 2, 14, 30 + seq)).toISOString() });

test("while the run is read there is no stream, and nothing to press", async () => {
  const client = fakeClient({ getRun: () => never() });
  openPage("/?run=a&view=play", client);
  expect(await screen.findByRole("heading", { level: 1 })).toBeDefined();
  expect(client.openStream).not.toHaveBeenCalled();
  expect(screen.queryByRole("button", { name: "Play" })).toBeNull();
});

test("frames that come are drawn and told: time, price, equity, and how many source frames they cover", async () => {
  const { stream } = await opened();
  stream.becomes({ connection: "live", playing: true });
  minute(stream, 0);
  minute(stream, 4, 4);
  await waitFor(() => expect(readout("Frames covered")).toBe("5 of 5"));
  expect(readout("Price")).toBe("11.00");
  expect(readout("Frame")).toBe("5 / 100");
  expect(screen.getByLabelText("Time of the last frame").textContent).toContain("09:34");
  expect(PlaybackChart.drawn?.candles.length).toBeGreaterThan(0);
});

test("a frame that lacks shows in the frames covered", async () => {
  const { stream } = await opened();
  stream.becomes({ connection: "live", playing: true });
  minute(stream, 0);
  minute(stream, 5, 2);
  await waitFor(() => expect(readout("Frames covered")).toBe("3 of 6"));
});

test("after a seek the candles before the place come from the chart, and where these cannot be read it goes on", async () => {
  const { stream, client } = await opened();
  client.getChart.mockRejectedValueOnce(defect("no bars"));
  stream.becomes({ connection: "live" });
  for (const seq of [50, 80]) {
    fireEvent.input(screen.getByLabelText("Position in the run"), { target: { value: "500" } });
    fireEvent.pointerUp(screen.getByLabelText("Position in the run"));
    minute(stream, seq);
    await waitFor(() => expect(readout("Frame")).toBe(`${seq + 1} / 100`));
  }
  expect(stream.seek).toHaveBeenCalledTimes(2);
  expect(client.getChart).toHaveBeenCalledTimes(2);
  expect(screen.queryByRole("alert")).toBeNull();
});

test("a playback that is reconnecting keeps its place and its controls", async () => {
  const { stream } = await opened();
  stream.becomes({ connection: "live", playing: true });
  minute(stream, 0);
  await waitFor(() => expect(readout("Frame")).toBe("1 / 100"));
  stream.becomes({ connection: "reconnecting", retryMs: 4000 });
  expect(connection()).toBe("reconnecting, next try in 4 s · BFF");
  expect(readout("Frame")).toBe("1 / 100");
  expect(screen.getByRole("button", { name: "Pause" })).toBeDefined();
});

const bar = (minute: number, rest = {}) => ({ ...prices, t: Date.UTC(2024, 0, 2, 14, 30 + minute) / 1000, ...rest });
const prices = { o: 10, h: 12, l: 9, c: 11, v: 100, closed: false };
const standing = { ts: "2024-01-02T15:19:00Z", peak: { ts: "2024-01-02T15:00:00Z", value: 2000 }, orders: 7 };

test("after a seek drawdown and orders are the run's, not those since the seek", async () => {
  const { stream } = await opened();
  stream.becomes({ connection: "live" });
  stream.stands({ ...standing, seq: 49, size: 60, bar: bar(0) });
  minute(stream, 50, 1, { bars: [bar(0)], peak: standing.peak, orders: [{}], equity: { ts: "", value: 1500 } });
  await waitFor(() => expect(readout("Orders")).toBe("8"));
  expect(readout("Drawdown")).toBe("25.00%");
  expect(readout("Frames covered")).toBe("1 of 1");
});

test("bars of another size are drawn from the one under way on, and what was known of orders stays", async () => {
  const { stream, user, client } = await opened();
  stream.becomes({ connection: "live" });
  stream.stands({ seq: -1, ts: null, peak: null, orders: 0, size: 60, bar: null });
  minute(stream, 49, 50, { bars: [bar(0)], orders: [{ side: "SELL" }] });
  await waitFor(() => expect(PlaybackChart.drawn?.minutes).toBe(60));
  expect(client.getChart).not.toHaveBeenCalled();
  client.getChart.mockRejectedValueOnce(defect("no bars"));
  await user.selectOptions(screen.getByLabelText("Bars"), "5 min");
  stream.stands({ ...standing, seq: 49, orders: 1, size: 5, bar: bar(45, { h: 13 }) });
  await waitFor(() => expect(PlaybackChart.drawn?.minutes).toBe(5));
  const [candle] = PlaybackChart.drawn?.candles ?? [];
  expect(candle).toMatchObject({ h: 13, sells: 1, equity: 1000 });
  expect(readout("Orders")).toBe("1");
});

test("what is drawn stays where a connection comes back at the same place", async () => {
  const { stream, client } = await opened();
  stream.becomes({ connection: "live" });
  stream.stands({ seq: -1, ts: null, peak: null, orders: 0, size: 60, bar: null });
  minute(stream, 4, 5, { bars: [bar(0)] });
  await waitFor(() => expect(readout("Frame")).toBe("5 / 100"));
  const book = PlaybackChart.drawn;
  stream.stands({ ...standing, seq: 4, size: 60, bar: bar(0) });
  minute(stream, 5, 1, { bars: [bar(0)] });
  await waitFor(() => expect(readout("Frame")).toBe("6 / 100"));
  expect(PlaybackChart.drawn).toBe(book);
  expect(client.getChart).not.toHaveBeenCalled();
});
