/** Requests for the same thing share one flight, which ends early only when nobody waits for it any more. */

interface Flight {
  controller: AbortController;
  waiting: number;
  names: string[];
}

/** What a flight brings, under one of its names. */
interface Load {
  flight: Flight;
  brings: unknown;
}

/** Let what a flight brings be had under a further name as well, until it has landed. */
export type Offer = (name: string, landed: Promise<unknown>) => void;

/** A place on a flight: what it brings, and how to leave it. */
export interface Seat<T> {
  brings: T;
  leave(): void;
}

export class Flights {
  #loads = new Map<string, Load>();

  /** Join the flight of this name or begin it. Rejects with the signal's reason as soon as that is aborted. */
  async join<T>(name: string, signal: AbortSignal | undefined, begin: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const { brings, leave } = this.board(name, begin, (landed) => landed);
    try {
      return await raced(brings, signal);
    } finally {
      leave();
    }
  }

  /** Board the flight of this name or begin it; it can be boarded until what it brings has `landed`. */
  board<T>(
    name: string,
    begin: (signal: AbortSignal, offer: Offer) => T,
    landed: (brings: T) => Promise<unknown>,
  ): Seat<T> {
    let load = this.#loads.get(name);
    if (!load) {
      const flight: Flight = { controller: new AbortController(), waiting: 0, names: [] };
      const brings = begin(flight.controller.signal, (other, part) => {
        if (!flight.controller.signal.aborted) this.#put(other, { flight, brings: part }, part);
      });
      load = { flight, brings };
      this.#put(name, load, landed(brings));
    }
    const { flight, brings } = load;
    flight.waiting++;
    const leave = (): void => {
      if (--flight.waiting === 0 && this.#forget(flight)) flight.controller.abort();
    };
    return { brings: brings as T, leave };
  }

  #put(name: string, load: Load, landed: Promise<unknown>): void {
    if (this.#loads.has(name)) return;
    this.#loads.set(name, load);
    load.flight.names.push(name);
    const done = (): void => {
      if (this.#loads.get(name) === load) this.#loads.delete(name);
    };
    landed.then(done, done);
  }

  /** Let nobody board any more; tell whether one still could, that is, whether something has not landed yet. */
  #forget(flight: Flight): boolean {
    const open = flight.names.filter((name) => this.#loads.get(name)?.flight === flight);
    for (const name of open) this.#loads.delete(name);
    return open.length > 0;
  }
}

/** Settle as a promise does, or reject with the signal's reason as soon as that is aborted. */
export function raced<T>(landed: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return landed;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    landed.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
