import { Component, type ReactNode } from "react";
import { Failure } from "./notice.tsx";

/** Code of the page that cannot be loaded: the network is away, or a deployment has replaced it. */
export class ChunkLoadError extends Error {
  override readonly name = "CodeMissing";

  constructor(cause: unknown) {
    super("a part of the page could not be loaded", { cause });
  }
}

const RELOADED = "reloaded-at";
const ONCE_IN_MS = 60_000;

/** Reload the page, at most once a minute, if the origin responds: the new page names chunks that exist. */
async function reloadOnce(): Promise<void> {
  const now = Date.now();
  try {
    if (now - Number(sessionStorage.getItem(RELOADED)) < ONCE_IN_MS) return;
    const answer = await fetch("/", { method: "HEAD", cache: "no-store" });
    if (!answer.ok) return;
    sessionStorage.setItem(RELOADED, String(now));
    location.reload();
  } catch {
    // Without a network, or a store to remember it in, the reader decides.
  }
}

/** Keeps what fails in a part of the page inside it, and says what it was. */
export class ErrorBoundary extends Component<{ what: string; children: ReactNode }, { error?: unknown }> {
  override state: { error?: unknown } = {};

  static getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  override componentDidCatch(error: unknown): void {
    if (error instanceof ChunkLoadError) void reloadOnce();
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === undefined) return this.props.children;
    // What could not be loaded is not asked for again by the same page.
    const retry = () => (error instanceof ChunkLoadError ? location.reload() : this.setState({ error: undefined }));
    return <Failure error={error} what={this.props.what} retry={retry} />;
  }
}
