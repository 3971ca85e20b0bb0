import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, test, vi } from "vitest";
import { ChunkLoadError, ErrorBoundary } from "../../src/ui/error-boundary.tsx";

const reload = vi.fn();

beforeEach(() => {
  reload.mockReset();
  sessionStorage.clear();
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  vi.spyOn(location, "reload").mockImplementation(reload);
  return () => vi.restoreAllMocks();
});

function Child({ fault }: { fault: { error: Error | undefined } }) {
  if (fault.error) throw fault.error;
  return <p>all is well</p>;
}

const shown = (fault: { error: Error | undefined }) =>
  render(
    <ErrorBoundary what="This view failed">
      <Child fault={fault} />
    </ErrorBoundary>,
  );

test("what fails is told in its place, and Retry shows it again", async () => {
  const fault: { error: Error | undefined } = { error: new Error("a bad row") };
  shown(fault);
  expect(screen.getByRole("alert").textContent).toContain("This view failed: a bad row");
  fault.error = undefined;
  await userEvent.setup().click(screen.getByRole("button", { name: "Retry" }));
  expect(screen.getByText("all is well")).toBeDefined();
  expect(reload).not.toHaveBeenCalled();
});

test("code that is missing is had by loading the page anew, once in a minute", async () => {
  vi.stubGlobal(
    "fetch",
    vi.fn(async () => new Response()),
  );
  const fault = { error: new ChunkLoadError("404") };
  shown(fault).unmount();
  await vi.waitFor(() => expect(reload).toHaveBeenCalledOnce());
  shown(fault);
  await userEvent.setup().click(screen.getByRole("button", { name: "Retry" }));
  // The second time it was the reader who decided.
  expect(reload).toHaveBeenCalledTimes(2);
  expect(fetch).toHaveBeenCalledOnce();
  vi.unstubAllGlobals();
});

test("where the page itself is out of reach it is left as it is", async () => {
  const asked = vi.fn(async () => new Response("", { status: 502 }));
  vi.stubGlobal("fetch", asked);
  shown({ error: new ChunkLoadError("offline") });
  await vi.waitFor(() => expect(asked).toHaveBeenCalled());
  await Promise.resolve();
  expect(reload).not.toHaveBeenCalled();
  vi.unstubAllGlobals();
});
