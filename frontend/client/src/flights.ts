/** Requests for the same thing share one flight, which ends early only when nobody waits for it any more. */

interface Flight<T> {
  landed: Promise<T>;
  controller: AbortController;
  waiting: number;
}

export class Flights {
  #flights = new Map<string, Flight<unknown>>();

  /** Join the flight of this name or begin it. Rejects with the signal's reason as soon as that is aborted. */
  async join<T>(name: string, signal: AbortSignal | undefined, begin: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    let flight = this.#flights.get(name) as Flight<T> | undefined;
    if (!flight) {
      const controller = new AbortController();
      flight = { landed: begin(controller.signal), controller, waiting: 0 };
      this.#flights.set(name, flight);
      const done = () => this.#forget(name, flight as Flight<unknown>);
      flight.landed.then(done, done);
    }
    flight.waiting++;
    try {
      return await (signal ? raced(flight.landed, signal) : flight.landed);
    } finally {
      if (--flight.waiting === 0 && this.#forget(name, flight as Flight<unknown>)) flight.controller.abort();
    }
  }

  /** Let nobody join any more; tell whether one still could, that is, whether it has not landed yet. */
  #forget(name: string, flight: Flight<unknown>): boolean {
    return this.#flights.get(name) === flight && this.#flights.delete(name);
  }
}

function raced<T>(landed: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    landed.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
