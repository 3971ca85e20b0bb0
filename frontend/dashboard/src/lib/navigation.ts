/** The address bar as state. */

import { useSyncExternalStore } from "react";
import { formatRoute, parseRoute, type Route } from "./route.ts";

const listeners = new Set<() => void>();
let route = parseRoute(location.search);

function announce(): void {
  for (const listener of listeners) listener();
}

addEventListener("popstate", () => {
  route = parseRoute(location.search);
  announce();
});

/** Go to a view; `replace` where "back" should not lead to every step of a pan. */
export function navigate(to: Route, replace = false): void {
  const address = formatRoute(to);
  if (address === `${location.pathname}${location.search}`) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  route = to;
  if (!replace) scrollTo(0, 0);
  announce();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useRoute = (): Route => useSyncExternalStore(subscribe, () => route);
export const currentRoute = (): Route => route;
