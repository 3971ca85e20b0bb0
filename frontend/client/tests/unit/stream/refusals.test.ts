/** Streams whose one side gives up, for good or for the moment, while the other plays or could. */

import { expect, onTestFinished, test } from "vitest";
import { WebSocket as NodeWebSocket, type WebSocket as Peer } from "ws";
import { BffError, type ClientOptions, createClient, type Frame, type StreamEvents } from "../../../src/index.ts";
import { BffFeed } from "../../../src/stream/bff-feed.ts";
import { deferredFeed, type Feed } from "../../../src/stream/feed.ts";
import { SwitchingStream } from "../../../src/stream/switching-stream.ts";
import type { Side } from "../../../src/types.ts";
import { Switches } from "../../switches.ts";
import { type Answer, serve } from "../server.ts";

const WebSocket = NodeWebSocket as unknown as typeof globalThis.WebSocket;
const DETAIL = { run_id: "r", status: "DONE", dataset_id: "AAPL-2024-1m" };
const START = Date.parse("2024-11-01T13:30:00Z");
const FINAL = [
  [1008, "VALIDATION"],
  [1009, "TOO_LARGE"],
  [4403, "FORBIDDEN"],
  [4404, "RUN_NOT_FOUND"],
  [4424, "ARTIFACT_MISSING"],
] as const;

const frame = (index: number): Record<string, unknown> => {
  const ts = new Date(START + index * 60_000).toISOString().replace(".000Z", "Z");
  return { t: "frame", ts, ohlc: null, orders: [], equity: { ts, value: index }, dropped: 0 };
};
const relayed = (seq: number) => ({ ...frame(seq), n: 1, seq });
const frames = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => frame(from + index));
const hello = (epoch: string | null = "e1") => ({
  ...{ t: "hello", epoch, seq: -1, total: null, from: null, to: null, fps: 60, speed: 3600 },
});
const say = (socket: Peer, ...messages: unknown[]): void => {
  for (const message of messages) socket.send(JSON.stringify(message));
};

async function played(
  side: Side,
  talk: (socket: Peer, path: string, turn: number) => void,
  options: Partial<ClientOptions> = {},
  answer: () => Answer = () => ({ body: DETAIL }),
  speed = 3600,
) {
  const paths: string[] = [];
  const server = await serve(answer, (socket, path) => talk(socket, path, paths.push(path)));
  const flags = new Switches(side);
  const client = createClient({ baseUrl: server.url, flags, WebSocket, ...options });
  onTestFinished(() => client.close());
  const stream = client.openStream("r", { speed, fps: 60, autoplay: true });
  const errors: StreamEvents["error"][] = [];
  const shown: Frame[] = [];
  stream.on("error", (error) => errors.push(error));
  stream.on("frame", (one) => shown.push(one));
  const relay = () => paths.filter((path) => path.startsWith("/api"));
  const backend = () => paths.filter((path) => path.startsWith("/backtests"));
  return { stream, flags, errors, shown, relay, backend };
}

test.each(FINAL)(
  "a playback that is moved to a relay which refuses it with %i plays on over legacy",
  async (code, name) => {
    const { stream, flags, errors, relay } = await played(
      "legacy",
      (socket, path) => (path.startsWith("/api") ? socket.close(code) : say(socket, ...frames(0, 5000))),
      { returnMs: 10 },
      undefined,
      10,
    );
    await expect.poll(() => stream.position.seq).toBeGreaterThan(5);
    flags.turn("bff");
    await expect.poll(() => errors).toMatchObject([{ code: name, fatal: false }]);
    const { seq } = stream.position;
    await expect.poll(() => stream.position.seq).toBeGreaterThan(seq + 5);
    stream.seek(4000);
    await expect.poll(() => stream.position.seq).toBeGreaterThanOrEqual(4000);
    expect(stream.state).toMatchObject({ connection: "live", side: "legacy", playing: true });
    // It has been refused for good: nobody asks again before the flags have been elsewhere.
    expect(relay()).toHaveLength(1);
    flags.turn("legacy");
    flags.turn("bff");
    await expect.poll(relay).toHaveLength(2);
  },
);

test("a run that is too large for the relay is played over legacy from the beginning", async () => {
  const { stream, errors, relay } = await played("bff", (socket, path) => {
    if (path.startsWith("/api")) socket.close(1009);
    else say(socket, ...frames(0, 30), { t: "end" });
  });
  await expect.poll(() => stream.state.ended).toBe(true);
  expect(stream.position.seq).toBe(29);
  expect(stream.state).toMatchObject({ side: "legacy", connection: "live" });
  expect(errors).toMatchObject([{ code: "TOO_LARGE", fatal: false }]);
  expect(relay()).toHaveLength(1);
});

test("a run that is too large for the relay, and unknown to legacy, or without fallback, is over", async () => {
  const close = (socket: Peer): void => socket.close(1009);
  const refused = await played("bff", close, {}, () => ({ status: 404, body: { detail: "no" } }));
  await expect.poll(() => refused.stream.state.connection).toBe("closed");
  expect(refused.errors.at(-1)).toMatchObject({ code: "RUN_NOT_FOUND", fatal: true });
  const strict = await played("bff", close, { fallback: false });
  await expect.poll(() => strict.errors).toMatchObject([{ code: "TOO_LARGE", fatal: true }]);
  expect(strict.stream.state.connection).toBe("closed");
});

test("a greeting alone is no success: the waits grow, and legacy is tried", async () => {
  const { stream, relay, shown } = await played("bff", (socket, path) => {
    if (path.startsWith("/api")) {
      say(socket, hello());
      socket.close(1011);
    } else say(socket, ...frames(0, 30), { t: "end" });
  });
  await expect.poll(() => stream.state.ended).toBe(true);
  expect(stream.state.side).toBe("legacy");
  expect(shown.reduce((sum, { n }) => sum + n, 0)).toBe(30);
  expect(relay().length).toBeLessThan(6);
});

test("a relay that greets and breaks off is not asked more and more often", async () => {
  const at: number[] = [];
  await played(
    "bff",
    (socket) => {
      at.push(performance.now());
      say(socket, hello());
      socket.close(1011);
    },
    { fallback: false },
  );
  await new Promise((resolve) => setTimeout(resolve, 2500));
  // Resetting the waits on a greeting makes ten and more.
  expect(at.length).toBeLessThanOrEqual(8);
});

test("a frame makes the waits begin anew", async () => {
  const { stream, relay } = await played("bff", (socket, _, turn) => {
    say(socket, hello(), relayed(turn));
    if (turn < 8) socket.close(1006 - 5);
  });
  await expect.poll(() => stream.position.seq).toBe(8);
  expect(stream.state.side).toBe("bff");
  expect(relay()).toHaveLength(8);
});

test("an epoch that is told later names what was shown, and one that never was is not made up", async () => {
  const queries: URLSearchParams[] = [];
  const { stream } = await played("bff", (socket, path, turn) => {
    queries.push(new URL(path, "http://x").searchParams);
    say(socket, hello(null), relayed(turn));
    if (turn === 1) socket.close(1012);
    else if (turn === 2) {
      say(socket, { t: "status", state: "epoch", epoch: "e7", ts: null, reason: "unknown" }, relayed(3));
      setTimeout(() => socket.close(1012), 50);
    }
  });
  await expect.poll(() => queries).toHaveLength(3);
  const [first, second, third] = queries.map((query) => [query.get("epoch"), query.get("seq"), query.get("ts")]);
  expect(first).toEqual([null, null, null]);
  // By the time: `seq` alone could be taken for that of another reading.
  expect(second).toEqual(["unknown", "1", frame(1)["ts"]]);
  expect(third).toEqual(["e7", "3", frame(3)["ts"]]);
  expect(stream.position.seq).toBeGreaterThanOrEqual(3);
});

test("a relay that does not greet is given up after some seconds, and legacy plays", async () => {
  const { stream } = await played("bff", (socket, path) => {
    if (path.startsWith("/backtests")) say(socket, ...frames(0, 30), { t: "end" });
  });
  await expect.poll(() => stream.state.ended, { timeout: 9000 }).toBe(true);
  expect(stream.state.side).toBe("legacy");
});

test("a flip to legacy whose code cannot be loaded yet is made up for when it can", async () => {
  const server = await serve(
    () => ({ body: DETAIL }),
    (socket) => {
      say(socket, hello());
      let seq = 0;
      const timer = setInterval(() => say(socket, relayed(seq++)), 10);
      socket.on("close", () => clearInterval(timer));
    },
  );
  let side: Side = "bff";
  let loads = 0;
  const made: Side[] = [];
  const stream = new SwitchingStream(
    "r",
    { autoplay: true },
    {
      baseUrl: server.url,
      WebSocket,
      side: () => side,
      fallback: true,
      returnMs: 10,
      isBack: async () => true,
      feeds: {
        bff: (options, epoch) => new BffFeed(options, epoch),
        legacy: ({ host }) => {
          const loaded = async (): Promise<() => Feed> => {
            if (++loads < 3) throw new BffError("NETWORK", "the code for the legacy side cannot be loaded");
            return () => {
              setTimeout(() => host.ready({ epoch: null, total: null, from: null, to: null }));
              return { acceptsControls: true, start: () => {}, send: () => {}, close: () => {} };
            };
          };
          return deferredFeed(loaded(), host);
        },
      },
      opened: (opened) => made.push(opened),
      closed: () => {},
    },
  );
  onTestFinished(() => stream.close());
  await expect.poll(() => stream.position.seq).toBeGreaterThan(3);
  side = "legacy";
  stream.followFlags();
  await expect.poll(() => stream.state.side).toBe("legacy");
  expect([loads, made]).toEqual([3, ["bff", "legacy"]]);
});

test("a listener of frames that throws disturbs neither the stream nor other listeners", async () => {
  const { stream, shown } = await played("legacy", (socket) => say(socket, ...frames(0, 30), { t: "end" }));
  stream.on("state", () => {
    throw new Error("of the listener");
  });
  await expect.poll(() => stream.state.ended).toBe(true);
  expect(shown.reduce((sum, { n }) => sum + n, 0)).toBe(30);
});
