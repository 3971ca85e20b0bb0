import { useQuery } from "@tanstack/react-query";
import type { CompleteRun } from "bff-client";
import { parseTime } from "bff-client/lib/time";
import { type KeyboardEvent as ReactKeyboardEvent, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { useSession } from "../../api/context.ts";
import { PlaybackChart } from "../../charts/playback-chart.ts";
import { currentRoute, navigate } from "../../lib/navigation.ts";
import { BAR_MINUTES, LIST, type PlayRoute, RATES, runRoute, SPEEDS } from "../../lib/route.ts";
import { onTheme } from "../../lib/theme.ts";
import { dayInWords, endOfDay } from "../../lib/time.ts";
import { barSizeInWords } from "../../lib/timeframes.ts";
import { Link } from "../../ui/link.tsx";
import { Failure, Notice } from "../../ui/notice.tsx";
import { Player, type Snapshot } from "./player.ts";
import { SEEK_STEPS } from "./seek-bar.ts";

const CONNECTIONS: Record<Snapshot["connection"], { kind: string; words: string }> = {
  connecting: { kind: "live", words: "connecting" },
  live: { kind: "ok", words: "connected" },
  waiting: { kind: "warn", words: "waiting for the run" },
  reconnecting: { kind: "warn", words: "reconnecting" },
  draining: { kind: "warn", words: "moving over" },
  closed: { kind: "bad", words: "closed" },
};

/** Return what keys do, where no control has its own use for them. */
function keyAction(event: KeyboardEvent, player: Player): (() => void) | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.target instanceof HTMLElement)) return undefined;
  if (event.target.closest("input:not([type=range]), select, textarea, dialog, [contenteditable]")) return undefined;
  const range = event.target.matches("input[type=range]");
  switch (event.key) {
    case " ":
      return event.target.closest("button, a") ? undefined : () => player.toggle();
    case "ArrowRight":
      return range ? undefined : () => player.step(1);
    case "ArrowLeft":
      return range ? undefined : () => player.step(-1);
    default:
      return undefined;
  }
}

function Connection({ shot: snapshot }: { shot: Snapshot }) {
  const { kind, words } = CONNECTIONS[snapshot.connection];
  const retry =
    snapshot.retryMs && snapshot.connection !== "live" ? `, next try in ${Math.ceil(snapshot.retryMs / 1000)} s` : "";
  return (
    <span className={`badge ${kind}`} role="status" data-connection={snapshot.connection} data-side={snapshot.side}>
      {snapshot.ended && snapshot.connection === "live" ? "at the end" : words}
      {retry} · {snapshot.side === "bff" ? "BFF" : "legacy"}
    </span>
  );
}

/** The bar over the whole run: it follows the playback unless it is held. */
function SeekBar({ player }: { player: Player }) {
  const [hint, setHint] = useState("");
  const bar = useRef<HTMLInputElement>(null);
  const fraction = () => Number(bar.current?.value ?? 0) / SEEK_STEPS;
  const hold = () => {
    if (bar.current) bar.current.dataset["held"] = "yes";
    setHint(player.placeInWords(fraction()));
  };
  const release = () => {
    if (!bar.current?.dataset["held"]) return;
    delete bar.current.dataset["held"];
    setHint("");
    player.seekTo(fraction());
  };
  const pressed = (event: ReactKeyboardEvent) => {
    if (event.key === " ") event.preventDefault();
  };
  return (
    <div className="seek">
      <input
        ref={bar}
        type="range"
        aria-label="Position in the run"
        min={0}
        max={SEEK_STEPS}
        step={1}
        defaultValue={0}
        onInput={hold}
        onPointerUp={release}
        onPointerCancel={release}
        onKeyUp={release}
        onKeyDown={pressed}
        onBlur={release}
      />
      <span className="hint" aria-hidden="true">
        {hint}
      </span>
    </div>
  );
}

function Controls({ player, shot, route }: { player: Player; shot: Snapshot; route: PlayRoute }) {
  const set = (change: Partial<PlayRoute>) => navigate({ ...route, ...change }, true);
  return (
    <div className="transport">
      {/* biome-ignore lint/a11y/useSemanticElements: as Segmented */}
      <div className="segmented" role="group" aria-label="Step and play">
        <button type="button" aria-label="One frame back" aria-keyshortcuts="ArrowLeft" onClick={() => player.step(-1)}>
          ‹
        </button>
        <button type="button" className="play" aria-keyshortcuts="Space" onClick={() => player.toggle()}>
          {shot.playing ? "Pause" : shot.ended ? "Again" : "Play"}
        </button>
        <button type="button" aria-label="One frame on" aria-keyshortcuts="ArrowRight" onClick={() => player.step(1)}>
          ›
        </button>
      </div>
      <label>
        Speed
        <select
          value={shot.speed}
          onChange={(event) => {
            player.setSpeed(Number(event.target.value));
            set({ speed: Number(event.target.value) });
          }}
        >
          {[...new Set([...SPEEDS, shot.speed])]
            .sort((one, other) => one - other)
            .map((speed) => (
              <option key={speed} value={speed}>
                {speed}×
              </option>
            ))}
        </select>
      </label>
      <label>
        Frames/s
        <select
          value={shot.fps}
          onChange={(event) => {
            player.setFps(Number(event.target.value));
            set({ fps: Number(event.target.value) });
          }}
        >
          {[...new Set([...RATES, shot.fps])]
            .sort((one, other) => one - other)
            .map((rate) => (
              <option key={rate} value={rate}>
                {rate}
              </option>
            ))}
        </select>
      </label>
      <label>
        Bars
        <select
          value={route.bar}
          onChange={(event) => {
            player.setBar(Number(event.target.value));
            set({ bar: Number(event.target.value) as PlayRoute["bar"] });
          }}
        >
          {BAR_MINUTES.map((minutes) => (
            <option key={minutes} value={minutes}>
              {minutes === 0 ? `auto (${barSizeInWords(shot.minutes)})` : barSizeInWords(minutes)}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}

const READOUTS = [
  ["price", "Price"],
  ["equity", "Equity"],
  ["drawdown", "Drawdown"],
  ["seq", "Frame"],
  ["orders", "Orders"],
  ["rate", "Drawn at"],
  ["covered", "Frames covered"],
  ["dropped", "Dropped"],
] as const;

function Stage({ player, route }: { player: Player; route: PlayRoute }) {
  const shot = useSyncExternalStore(player.subscribe, player.snapshot);
  const root = useRef<HTMLDivElement>(null);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!box.current || !root.current) return;
    const chart = new PlaybackChart(box.current);
    player.attach(chart, root.current);
    const stop = onTheme(() => chart.recolour());
    const pressed = (event: KeyboardEvent) => {
      const act = keyAction(event, player);
      if (!act) return;
      event.preventDefault();
      act();
    };
    addEventListener("keydown", pressed);
    return () => {
      removeEventListener("keydown", pressed);
      stop();
      player.detach();
      chart.dispose();
    };
  }, [player]);
  return (
    <div
      ref={root}
      className="card stage"
      data-playing={shot.playing}
      data-ended={shot.ended}
      data-total={shot.total ?? undefined}
    >
      <header className="toolbar">
        <output className="clock" data-live="time" aria-label="Time of the last frame">
          –
        </output>
        <span className="spacer" />
        <Connection shot={shot} />
      </header>
      {shot.failure && <Notice kind={shot.connection === "closed" ? "bad" : "warn"}>{shot.failure}</Notice>}
      <div role="img" aria-label="Candles that grow as the run is played, with equity below" className="chart-frame">
        <div ref={box} className="chart" aria-hidden="true" />
      </div>
      <SeekBar player={player} />
      <Controls player={player} shot={shot} route={route} />
      <dl className="readouts">
        {READOUTS.map(([name, label]) => (
          <div key={name}>
            <dt>{label}</dt>
            <dd data-live={name}>–</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

/** Opens the stream when it is mounted and closes it when it goes. */
function Playing({ data, route }: { data: CompleteRun; route: PlayRoute }) {
  const { client } = useSession();
  const [player, setPlayer] = useState<Player>();
  const opening = useRef(route);
  const { run } = data;
  const { run_id: id, symbol, run_from: first, run_to: last } = run;
  useEffect(() => {
    const { speed, fps, bar, at } = opening.current;
    const made = new Player(client, {
      id: id ?? opening.current.run,
      symbol: symbol ?? "",
      from: parseTime(first?.slice(0, 10)) ?? 0,
      to: last ? endOfDay(last.slice(0, 10)) : 0,
      speed,
      fps,
      bar,
      at,
      onPosition: (position) => {
        const now = currentRoute();
        if (now.view === "play") navigate({ ...now, at: position }, true);
      },
    });
    setPlayer(made);
    return () => made.close();
  }, [client, id, symbol, first, last]);
  return player ? <Stage player={player} route={route} /> : null;
}

export default function PlayView({ route }: { route: PlayRoute }) {
  const { client } = useSession();
  // The run's detail is all that playback needs besides its stream.
  const run = useQuery({
    queryKey: ["detail", route.run],
    queryFn: ({ signal }) => client.getRun(route.run, { include: [], signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const { data } = run;
  const name = data ? `${data.run.symbol} ${data.run.strategy_id}` : "Playback";
  useEffect(() => {
    document.title = `Playback of ${name} · Backtests`;
  }, [name]);
  return (
    <section aria-labelledby="title" data-view="play">
      <nav aria-label="Breadcrumb" className="crumbs">
        <Link to={LIST}>Runs</Link> <span aria-hidden="true">/</span>{" "}
        <Link to={runRoute(route.run)}>{route.run.slice(0, 8)}</Link> <span aria-hidden="true">/</span>{" "}
        <span className="muted">playback</span>
      </nav>
      <div className="head">
        <h1 id="title">
          {data?.run.symbol ?? "Playback"} <span className="muted">{data?.run.strategy_id}</span>
        </h1>
        {data && (
          <span className="muted">
            {dayInWords(data.run.run_from)} – {dayInWords(data.run.run_to)}
          </span>
        )}
      </div>
      {run.error && <Failure error={run.error} what="The run could not be read" retry={() => void run.refetch()} />}
      {data && <Playing data={data} route={route} />}
      <p className="note small">
        <kbd>Space</kbd> plays and pauses, <kbd>←</kbd> and <kbd>→</kbd> step by one frame.
      </p>
    </section>
  );
}
