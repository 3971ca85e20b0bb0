// Plays the newest finished run through /api/v1/runs/{id}/stream and draws close price and equity on a canvas.
const MOST_POINTS = 4000;
const element = (id) => document.getElementById(id);
const [canvas, play, seek, speed, run] = ["chart", "play", "seek", "speed", "run"].map(element);
const state = { socket: null, id: null, playing: false, ended: false, seeking: false, points: [] };

// The seek bar counts minutes, because the number of frames is not known before a run has been read to its end.
const minutes = (time) => Math.floor(Date.parse(time) / 60000);
const number = (value) => value.toLocaleString(undefined, { maximumFractionDigits: 2, minimumFractionDigits: 2 });

function send(message) {
  if (state.socket?.readyState === WebSocket.OPEN) state.socket.send(JSON.stringify(message));
}

function control(cmd, rest = {}) {
  send({ t: "ctrl", cmd, ...rest });
}

function setPlaying(playing) {
  state.playing = playing;
  play.textContent = playing ? "Pause" : "Play";
}

/** Keeps every other point when there are too many to draw: the line keeps its shape, the memory its bound. */
function remember(point) {
  state.points.push(point);
  if (state.points.length > MOST_POINTS) state.points = state.points.filter((_, index) => index % 2 === 0);
}

function onFrame(frame) {
  const last = state.points.at(-1);
  const close = frame.ohlc?.c ?? last?.close;
  const equity = frame.equity?.value ?? last?.equity;
  if (close === undefined || equity === undefined) return;
  remember({ ts: frame.ts, close, equity });
  element("price").value = number(close);
  element("equity").value = number(equity);
  element("time").value = frame.ts.replace("T", " ").replace("Z", " UTC");
  const at = minutes(frame.ts);
  if (frame.seq !== undefined && frame.n === frame.seq + 1) seek.min = at;
  if (at > Number(seek.max)) seek.max = at;
  if (!state.seeking) seek.value = at;
  seek.ariaValueText = element("time").value;
  requestDraw();
}

function onError(error) {
  // The bar ends with the last day of the run, the run itself some hours earlier.
  if (error.code === "RANGE" && typeof error.details?.max === "string") {
    seek.max = minutes(error.details.max);
    control("seek", { pos: error.details.max });
  } else run.textContent = `${error.code}: ${error.msg}`;
}

function onMessage(message) {
  if (message.t === "frame") onFrame(message);
  else if (message.t === "hb") send({ t: "hb" });
  else if (message.t === "end") {
    state.ended = true;
    seek.max = seek.value;
    setPlaying(false);
  } else if (message.t === "err") onError(message);
}

let drawing = false;
function requestDraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function line(context, values, colour, width, height) {
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  context.strokeStyle = colour;
  context.beginPath();
  values.forEach((value, index) => {
    const x = (index / Math.max(1, values.length - 1)) * width;
    context.lineTo(x, height - 12 - ((value - low) / span) * (height - 24));
  });
  context.stroke();
}

function draw() {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  if (state.points.length < 2) return;
  // Custom properties with light-dark() come out resolved only through a property that is a colour.
  const colour = (name) => getComputedStyle(document.querySelector(`.${name}`), "::before").backgroundColor;
  line(context, state.points.map((point) => point.close), colour("price"), width, height);
  line(context, state.points.map((point) => point.equity), colour("equity"), width, height);
}

function connect(thenPlay) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  state.socket = new WebSocket(`${scheme}//${location.host}/api/v1/runs/${encodeURIComponent(state.id)}/stream`);
  state.socket.onmessage = (event) => onMessage(JSON.parse(event.data));
  state.socket.onopen = () => {
    send({ t: "ready" });
    control("speed", { val: Number(speed.value) });
    if (thenPlay) control("play");
  };
  state.socket.onclose = () => setPlaying(false);
}

function toggle() {
  if (!state.id) return;
  if (state.playing) control("pause");
  else {
    if (state.ended) {
      state.points = [];
      state.ended = false;
      control("seek", { pos: 0 });
    }
    if (state.socket?.readyState === WebSocket.OPEN) control("play");
    else {
      state.points = [];
      connect(true);
    }
  }
  setPlaying(!state.playing);
}

function goTo(position) {
  state.points = [];
  state.ended = false;
  const at = Math.min(Number(seek.max), Math.max(Number(seek.min), Number(position)));
  control("seek", { pos: at === Number(seek.min) ? 0 : new Date(at * 60000).toISOString() });
}

async function newestFinished() {
  const answer = await fetch("/api/v1/backtests?limit=100&order=-created_at");
  if (!answer.ok) throw new Error(`the list of runs answered ${answer.status}`);
  const { items } = await answer.json();
  return items.find((item) => item.status === "DONE" || item.status === "COMPLETED");
}

async function begin() {
  try {
    const found = await newestFinished();
    if (!found) {
      run.textContent = "There is no finished run yet.";
      return;
    }
    state.id = found.run_id;
    run.textContent = `${found.symbol ?? ""} ${found.strategy_id}, ${found.run_from ?? "?"} to ${found.run_to ?? "?"} (${found.run_id})`;
    element("complete").href = `/api/v1/runs/${encodeURIComponent(found.run_id)}/complete`;
    if (found.run_from && found.run_to) {
      seek.min = minutes(`${found.run_from}T00:00Z`);
      seek.max = minutes(`${found.run_to}T23:59Z`);
      seek.value = seek.min;
    }
    for (const part of [play, seek, speed]) part.disabled = false;
  } catch (error) {
    run.textContent = `No run to play: ${error.message}. Trying again in 5 seconds.`;
    setTimeout(begin, 5000);
  }
}

play.addEventListener("click", toggle);
seek.addEventListener("input", () => { state.seeking = true; });
seek.addEventListener("change", () => {
  state.seeking = false;
  goTo(seek.value);
});
speed.addEventListener("change", () => control("speed", { val: Number(speed.value) }));
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLElement && event.target.closest("input, select, button, a");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = Math.max(1, Math.round((Number(seek.max) - Number(seek.min)) / 20));
  if (event.key === " ") toggle();
  else if (event.key === "ArrowRight") goTo(Number(seek.value) + step);
  else if (event.key === "ArrowLeft") goTo(Number(seek.value) - step);
  else return;
  event.preventDefault();
});
new ResizeObserver(requestDraw).observe(canvas);
begin();
