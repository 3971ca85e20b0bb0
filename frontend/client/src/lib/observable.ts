/** Observables: events, and values that change. */

/** Calls its listeners one after another; what one of them throws does not reach the others, nor whoever emits. */
export class Emitter<T> {
  readonly #listeners = new Set<(event: T) => void>();

  /** Add a listener; returns how to remove it. */
  readonly subscribe = (listener: (event: T) => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  emit(event: T): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch (error) {
        // biome-ignore lint/suspicious/noConsole: the listener's author has to hear of it, and nobody else may.
        console.error("a listener failed", error);
      }
    }
  }

  clear(): void {
    this.#listeners.clear();
  }
}

/** A value that can be watched; `get` and `subscribe` are what React's `useSyncExternalStore` takes. */
export class Store<T> {
  readonly #changed = new Emitter<void>();
  #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  readonly get = (): T => this.#value;
  readonly subscribe = (listener: () => void): (() => void) => this.#changed.subscribe(listener);

  set(value: T): void {
    this.#value = value;
    this.#changed.emit();
  }

  /** Remove every listener. */
  close(): void {
    this.#changed.clear();
  }
}
