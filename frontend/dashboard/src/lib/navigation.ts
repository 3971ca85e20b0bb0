/** The address bar as state. */

import { Store } from "bff-client/lib/observable";
import { useSyncExternalStore } from "react";
import { formatRoute, parseRoute, type Route } from "./route.ts";

const route = new Store(parseRoute(location.search));

addEventListener("popstate", () => route.set(parseRoute(location.search)));

/** Go to a view; `replace` where "back" should not lead to every step of a pan. */
export function navigate(to: Route, replace = false): void {
  const address = formatRoute(to);
  if (address === `${location.pathname}${location.search}`) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  if (!replace) scrollTo(0, 0);
  route.set(to);
}

export const useRoute = (): Route => useSyncExternalStore(route.subscribe, route.get);
export const currentRoute = route.get;
