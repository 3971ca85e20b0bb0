/** Controls that wait for a connection: the last of each kind, and every step. */

import type { Control } from "./feed.ts";

const MAX_PENDING = 100;

export class PendingControls {
  #held: Control[] = [];

  /** Hold a control; those that it makes pointless are dropped, and the oldest where there are too many. */
  add(control: Control): void {
    this.#held = [...this.#held.filter((held) => !supersedes(control, held)), control].slice(-MAX_PENDING);
  }

  /** Take out all of them, in their order. */
  drain(): Control[] {
    return this.#held.splice(0);
  }
}

/** Tell whether a control makes another pointless that has not been sent yet. */
function supersedes({ cmd }: Control, { cmd: held }: Control): boolean {
  if (cmd === "seek") return held === "seek" || held === "step";
  if (cmd === "play" || cmd === "pause") return held === "play" || held === "pause";
  return cmd !== "step" && cmd === held;
}
