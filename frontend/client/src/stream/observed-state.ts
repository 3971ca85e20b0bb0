/** What a stream's user sees of it: state, position and events, whichever side they come from. */

import { Emitter } from "../lib/observable.ts";
import type { Frame, Position, Side, StreamEvents, StreamOptions, StreamState } from "../types.ts";

type Emitters = { [K in keyof StreamEvents]: Emitter<StreamEvents[K]> };

export class ObservedState {
  position: Position;
  readonly #events: Emitters = {
    frame: new Emitter(),
    standing: new Emitter(),
    state: new Emitter(),
    hello: new Emitter(),
    end: new Emitter(),
    error: new Emitter(),
  };
  #state: StreamState;
  #emitted = "";

  constructor({ at, autoplay = false, speed = 60, fps = 30, bar = null }: StreamOptions, side: Side) {
    const { epoch = null, seq = -1, ts = null } = at ?? {};
    this.position = { epoch, seq, ts };
    this.#state = {
      connection: "connecting",
      side,
      playing: autoplay,
      ended: false,
      speed,
      fps,
      bar,
      total: null,
      from: null,
      to: null,
      dropped: 0,
      retryMs: null,
    };
  }

  get state(): StreamState {
    return this.#state;
  }

  get isClosed(): boolean {
    return this.#state.connection === "closed";
  }

  on<K extends keyof StreamEvents>(type: K, listener: (event: StreamEvents[K]) => void): () => void {
    return this.#events[type].subscribe(listener);
  }

  emit<K extends keyof StreamEvents>(type: K, event: StreamEvents[K]): void {
    this.#events[type].emit(event);
  }

  /** Change the state and tell of it, if anything is different; a closed stream stays as it is. */
  set(change: Partial<StreamState>): void {
    if (this.isClosed) return;
    const state = { ...this.#state, ...change };
    const text = JSON.stringify(state);
    if (text === this.#emitted) return;
    this.#emitted = text;
    this.#state = state;
    this.emit("state", state);
  }

  /** Name the epoch that the position counts in. */
  setEpoch(epoch: string | null): void {
    this.position = { ...this.position, epoch };
  }

  showFrame(frame: Frame): void {
    const total = typeof frame["total_frames"] === "number" ? frame["total_frames"] : this.#state.total;
    this.position = { epoch: this.position.epoch, seq: frame.seq, ts: frame.ts };
    this.set({ connection: "live", ended: false, dropped: frame.dropped, total, retryMs: null });
    this.emit("frame", frame);
  }

  showEnd(): void {
    this.set({ playing: false, ended: true, total: this.position.seq + 1, to: this.position.ts });
    this.emit("end", { position: this.position });
  }
}
