/** The page's one client, its flags, and what the calls have cost. One owner of each, made when the page starts. */

import { type Client, createClient, type FlagSource, OfrepFlags, type Report } from "bff-client";
import { Store } from "bff-client/lib/observable";
import { useSyncExternalStore } from "react";
import { type Costs, charge, NO_COSTS } from "../features/engineering/call-costs.ts";
import { currentRoute } from "../lib/navigation.ts";

export interface Session {
  client: Client;
  flags: FlagSource;
}

export const costs = new Store<Costs>(NO_COSTS);
/** The last calls that the BFF failed and legacy answered, newest last. */
export const fallbacks = new Store<readonly Report[]>([]);
const MOST_FALLBACKS = 20;

export const useCosts = () => useSyncExternalStore(costs.subscribe, costs.get);
export const useFallbacks = () => useSyncExternalStore(fallbacks.subscribe, fallbacks.get);

function note(report: Report): void {
  costs.set(charge(costs.get(), currentRoute().view, report));
  if (report.fallback) fallbacks.set([...fallbacks.get(), report].slice(-MOST_FALLBACKS));
}

export function openSession(): Session {
  const flags = new OfrepFlags();
  return { flags, client: createClient({ flags, onReport: note }) };
}

/** A client that stays on one side, to measure it; its calls are charged to nobody. */
export function clientOf(side: "bff" | "legacy", onReport: (report: Report) => void): Client {
  const fixed: FlagSource = {
    side: () => side,
    details: () => [],
    override: () => undefined,
    subscribe: () => () => undefined,
    start: () => Promise.resolve(),
    close: () => undefined,
  };
  return createClient({ flags: fixed, fallback: false, onReport });
}
