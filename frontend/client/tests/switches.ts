/** Flags that stay where a test puts them. */

import type { FlagSource, Group, Side } from "../src/index.ts";

export class Switches implements FlagSource {
  #listeners = new Set<() => void>();
  all: Side;

  constructor(side: Side) {
    this.all = side;
  }

  side(_: Group): Side {
    return this.all;
  }

  turn(side: Side): void {
    this.all = side;
    for (const listener of this.#listeners) listener();
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  details = () => [];
  override(): void {}
  async start(): Promise<void> {}
  close(): void {}
}
