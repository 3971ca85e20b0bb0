/** Streams against servers that behave as the backend and the relay do at their worst. */

import { expect, onTestFinished, test } from "vitest";
import { WebSocket as NodeWebSocket, type WebSocket as Peer } from "ws";
import { type ClientOptions, createClient, type Frame, type RunStream } from "../../../src/index.ts";
import { Switches } from "../../switches.ts";
import { type Answer, serve } from "../server.ts";

const WebSocket = NodeWebSocket as unknown as typeof globalThis.WebSocket;
const DETAIL = { run_id: "r", status: "DONE", dataset_id: "AAPL-2024-1m" };
const START = Date.parse("2024-11-01T13:30:00Z");

function frame(index: number): Record<string, unknown> {
  const ts = new Date(START + index * 60_000).toISOString().replace(".000Z", "Z");
  const orders = index % 10 === 0 ? [{ order_id: index }] : [];
  const ohlc = { o: index, h: index + 2, l: index - 2, c: index + 1, v: 10 };
  return { t: "frame", ts, ohlc, orders, equity: { ts, value: index }, dropped: 0 };
}

const say = (socket: Peer, ...messages: unknown[]): void => {
  for (const message of messages) socket.send(JSON.stringify(message));
};
const frames = (from: number, to: number): unknown[] => Array.from({ length: to - from }, (_, i) => frame(from + i));

const hello = (seq: number, epoch = "e1") => ({
  ...{ t: "hello", epoch, seq, total: 20, from: null, to: null },
  ...{ fps: 60, speed: 3600 },
});
const merged = (from: number, to: number) => ({ ...frame(to), n: to - from + 1, seq: to });

async function played(
  side: "bff" | "legacy",
  talk: (socket: Peer, path: string, turn: number) => void,
  options: Partial<ClientOptions> = {},
  answer: (path: string) => Answer = () => ({ body: DETAIL }),
): Promise<{ stream: RunStream; shown: Frame[]; flags: Switches; paths: string[] }> {
  const paths: string[] = [];
  const server = await serve(
    ({ url }) => answer(url),
    (socket, path) => talk(socket, path, paths.push(path)),
  );
  const flags = new Switches(side);
  const client = createClient({ baseUrl: server.url, flags, WebSocket, ...options });
  onTestFinished(() => client.close());
  const stream = client.openStream("r", { speed: 3600, fps: 60, autoplay: true });
  const shown: Frame[] = [];
  stream.on("frame", (one) => shown.push(one));
  return { stream, shown, flags, paths };
}

const covered = (shown: Frame[]): number => shown.reduce((sum, { n }) => sum + n, 0);

test("a backend that breaks off and begins again shows each frame once", async () => {
  const { stream, shown, paths } = await played("legacy", (socket, _, turn) => {
    say(socket, ...frames(0, turn * 40));
    if (turn < 3) socket.terminate();
    else say(socket, { t: "end" });
  });
  await expect.poll(() => stream.state.ended).toBe(true);
  expect(paths.length).toBe(3);
  expect(covered(shown)).toBe(120);
  expect(shown.flatMap(({ orders }) => orders.map((order) => order["order_id"]))).toEqual(
    Array.from({ length: 12 }, (_, i) => i * 10),
  );
});

test("several frames become one with the candle, the orders and the equity of all", async () => {
  const { stream, shown } = await played("legacy", (socket) => say(socket, ...frames(0, 30), { t: "end" }));
  await expect.poll(() => stream.state.ended).toBe(true);
  expect(shown).toHaveLength(1);
  expect(shown[0]).toMatchObject({
    ohlc: { o: 0, h: 31, l: -2, c: 30, v: 300 },
    orders: [{ order_id: 0 }, { order_id: 10 }, { order_id: 20 }],
    equity: { value: 29 },
    n: 30,
    seq: 29,
  });
});

test("total_frames tells the end where the backend never says it", async () => {
  const last = { ...frame(9), total_frames: 10 };
  const { stream } = await played("legacy", (socket) => say(socket, ...frames(0, 9), last));
  await expect.poll(() => stream.state).toMatchObject({ ended: true, total: 10 });
});

test("a relay that breaks off is asked again for what comes next", async () => {
  const { stream, shown, paths } = await played("bff", (socket, path, turn) => {
    if (turn === 1) {
      say(socket, hello(-1), merged(0, 9));
      socket.close(1012);
    } else say(socket, hello(9), merged(10, 19), { t: "end" });
    expect(path.includes("epoch=e1")).toBe(turn > 1);
  });
  await expect.poll(() => stream.state.ended).toBe(true);
  expect(covered(shown)).toBe(20);
  const query = new URL(paths[1] ?? "", "http://x").searchParams;
  expect([query.get("epoch"), query.get("seq")]).toEqual(["e1", "9"]);
});

test("how large a run is is known as soon as the relay says so, playing or not", async () => {
  let peer: Peer | undefined;
  const { stream } = await played("bff", (socket) => {
    peer = socket;
    say(socket, { ...hello(-1), total: null, from: "2024-11-01" });
  });
  stream.pause();
  await expect.poll(() => stream.state).toMatchObject({ connection: "live", total: null });
  const [from, to] = ["2024-11-01T13:30:00Z", "2024-11-01T13:49:00Z"];
  if (peer) say(peer, { t: "extent", total: 20, from, to });
  await expect.poll(() => stream.state).toMatchObject({ connection: "live", playing: false, total: 20, from, to });
  expect(stream.position.seq).toBe(-1);
});

test("a frame that was shown already on the other side is not shown again", async () => {
  const { stream, shown, flags } = await played("legacy", (socket, path) => {
    if (path.startsWith("/backtests")) say(socket, ...frames(0, 10), { ...frame(10), total_frames: 99_999 });
    else say(socket, hello(4, "e2"), ...[9, 10, 11].map((seq) => ({ ...frame(seq), n: 1, seq })).slice(1));
  });
  stream.seek(10);
  await expect.poll(() => stream.position.seq).toBe(10);
  flags.turn("bff");
  await expect.poll(() => stream.position.seq).toBe(11);
  expect(shown.map(({ seq }) => seq).slice(-2)).toEqual([10, 11]);
});

test("controls before the relay's hello wait for it, the last of a kind each", async () => {
  const said: string[] = [];
  const { stream } = await played("bff", (socket) => {
    socket.on("message", (text) => {
      const { cmd, pos } = JSON.parse(String(text));
      said.push(`${cmd} ${pos ?? ""}`.trim());
      if (cmd === "seek") say(socket, merged(pos, pos));
    });
    stream.seek(3);
    stream.seek(7);
    stream.play();
    stream.pause();
    say(socket, hello(-1));
  });
  await expect.poll(() => stream.position.seq).toBe(7);
  expect(said).toEqual(["seek 7", "pause"]);
});

test("a seek while the relay is away is obeyed by the side that stands in", async () => {
  let sought = false;
  const { stream, shown } = await played("bff", (socket, path) => {
    if (path.startsWith("/backtests")) say(socket, ...frames(0, 20), { t: "end" });
    else {
      // The relay may be tried again before legacy is ready: the user has sought once.
      if (!sought) {
        stream.pause();
        stream.seek(12);
        sought = true;
      }
      socket.terminate();
    }
  });
  await expect.poll(() => stream.position.seq).toBe(12);
  expect(stream.state).toMatchObject({ side: "legacy", playing: false });
  expect(shown.map(({ seq }) => seq)).toEqual([12]);
});

test("a stream that fell back returns when the BFF answers again, with the next frame", async () => {
  let away = true;
  const { stream, shown, paths } = await played(
    "bff",
    (socket, path) => {
      if (path.startsWith("/backtests")) say(socket, ...frames(0, 30));
      else if (away) socket.terminate();
      else {
        const seq = Number(new URL(path, "http://x").searchParams.get("seq"));
        say(socket, hello(seq), merged(seq + 1, seq + 10));
      }
    },
    { returnMs: 20 },
    (path) => (away && path.includes("openapi") ? { status: 502 } : { body: DETAIL }),
  );
  stream.speed(2);
  await expect.poll(() => stream.position.seq).toBe(29);
  expect(stream.state.side).toBe("legacy");
  away = false;
  await expect.poll(() => stream.position.seq).toBe(39);
  expect(stream.state.side).toBe("bff");
  expect(covered(shown)).toBe(40);
  expect(paths.filter((path) => path.startsWith("/backtests"))).toHaveLength(1);
});

test("a stream that was over before it began is not kept", async () => {
  const { url } = await serve(() => ({ body: DETAIL }));
  const client = createClient({ baseUrl: url, flags: new Switches("bff"), WebSocket });
  const stream = client.openStream("r", { signal: AbortSignal.abort() });
  const told: unknown[] = [];
  stream.on("state", (state) => told.push(state));
  client.close();
  expect([stream.state.connection, told]).toEqual(["closed", []]);
});

test.each([
  [4404, "RUN_NOT_FOUND"],
  [4401, "UNAUTHORIZED"],
  [4403, "FORBIDDEN"],
  [4424, "ARTIFACT_MISSING"],
  [1008, "VALIDATION"],
])("close code %i ends the stream with %s", async (code, expected) => {
  const { stream, paths } = await played("bff", (socket) => socket.close(code));
  const told = await new Promise((resolve) => stream.on("error", resolve));
  expect(told).toMatchObject({ code: expected, fatal: true });
  expect(stream.state.connection).toBe("closed");
  expect(paths).toHaveLength(1);
});

test("a closed stream says nothing more and takes no controls", async () => {
  const { stream, shown } = await played("legacy", (socket) => say(socket, ...frames(0, 10)));
  stream.close();
  stream.play();
  stream.seek(3);
  expect(stream.state).toMatchObject({ connection: "closed", playing: false });
  expect(shown).toEqual([]);
});
