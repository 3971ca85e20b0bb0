/** Listeners are told one after another, and what one of them throws is nobody else's affair. */

export function tellAll<T>(listeners: Iterable<(event: T) => void>, event: T): void {
  for (const listener of [...listeners]) {
    try {
      listener(event);
    } catch (error) {
      // biome-ignore lint/suspicious/noConsole: the listener's author has to hear of it, and nobody else may.
      console.error("a listener failed", error);
    }
  }
}
