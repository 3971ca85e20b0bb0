import { lazy, Suspense, useEffect, useState } from "react";
import { EngineeringPanel } from "./features/engineering/engineering-panel.tsx";
import { RunsView } from "./features/runs/runs-view.tsx";
import { useRoute } from "./lib/navigation.ts";
import { LIST, type Route } from "./lib/route.ts";
import { ChunkLoadError, ErrorBoundary } from "./ui/error-boundary.tsx";
import { Link } from "./ui/link.tsx";
import { ThemeSwitch } from "./ui/theme-switch.tsx";

// The list is there before the chart library has arrived.
const loadRunView = () => import("./features/run/run-view.tsx");
const loadPlayView = () => import("./features/playback/playback-view.tsx");
const orMissing = (cause: unknown): never => {
  throw new ChunkLoadError(cause);
};
const RunView = lazy(() => loadRunView().catch(orMissing));
const PlayView = lazy(() => loadPlayView().catch(orMissing));

/** Have the code of a view come while something else is waited for. */
export function preload({ view }: Route): void {
  // The view shows the failure.
  if (view === "run") loadRunView().catch(() => undefined);
  if (view === "play") loadPlayView().catch(() => undefined);
}

function View({ route }: { route: Route }) {
  if (route.view === "list") return <RunsView route={route} />;
  return route.view === "run" ? <RunView key={route.run} route={route} /> : <PlayView key={route.run} route={route} />;
}

export const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement && target.matches("input:not([type=range]), select, textarea, [contenteditable]");

export function App() {
  const route = useRoute();
  const [engineering, setEngineering] = useState(false);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) setEngineering(false);
      if (event.key !== "`" || isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      setEngineering((open) => !open);
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="bar">
        <Link to={LIST} className="brand">
          <svg viewBox="0 0 24 24" aria-hidden="true">
            <path d="M6 3v3M6 14v4M12 6v2M12 17v4M18 2v4M18 13v5" />
            <rect x="4" y="6" width="4" height="8" rx="1" />
            <rect x="10" y="8" width="4" height="9" rx="1" />
            <rect x="16" y="6" width="4" height="7" rx="1" />
          </svg>
          Backtests
        </Link>
        <span className="spacer" />
        <ThemeSwitch />
        <button
          type="button"
          className="quiet"
          aria-expanded={engineering}
          aria-controls="engineers"
          aria-keyshortcuts="`"
          onClick={() => setEngineering(!engineering)}
        >
          Engineering <kbd>`</kbd>
        </button>
      </header>
      <div className="frame" data-panel={engineering || undefined}>
        <main id="main" tabIndex={-1}>
          <ErrorBoundary key={route.view === "list" ? "list" : `${route.view} ${route.run}`} what="This view failed">
            <Suspense fallback={<p className="note">Loading…</p>}>
              <View route={route} />
            </Suspense>
          </ErrorBoundary>
        </main>
        {engineering && (
          <ErrorBoundary what="The panel failed">
            <EngineeringPanel close={() => setEngineering(false)} />
          </ErrorBoundary>
        )}
      </div>
      <footer className="foot">
        Times are New York's (ET). Charts by{" "}
        <a href="https://www.tradingview.com/" rel="noreferrer">
          TradingView Lightweight Charts™
        </a>
        .
      </footer>
    </>
  );
}
