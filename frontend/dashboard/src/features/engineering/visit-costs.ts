/** What the calls of this visit have cost, view by view, and which of them fell back. */

import type { Report } from "bff-client";
import { Store } from "bff-client/lib/observable";
import { useSyncExternalStore } from "react";
import { currentRoute } from "../../lib/navigation.ts";
import { addToView, type Costs, NO_COSTS } from "./call-costs.ts";

const costs = new Store<Costs>(NO_COSTS);
/** The last calls that the BFF failed and legacy answered, newest last. */
const fallbacks = new Store<readonly Report[]>([]);
const MAX_FALLBACKS = 20;

export const useCosts = () => useSyncExternalStore(costs.subscribe, costs.get);
export const useFallbacks = () => useSyncExternalStore(fallbacks.subscribe, fallbacks.get);
export const resetCosts = () => costs.set(NO_COSTS);

/** Add a report to the costs of the view that is shown. */
export function recordReport(report: Report): void {
  costs.set(addToView(costs.get(), currentRoute().view, report));
  if (report.fallback) fallbacks.set([...fallbacks.get(), report].slice(-MAX_FALLBACKS));
}
