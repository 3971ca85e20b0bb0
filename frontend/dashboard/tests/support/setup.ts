import { cleanup, configure } from "@testing-library/react";
import { afterEach, vi } from "vitest";

// What is drawn on a canvas only a browser shows: tests/browser.
vi.mock("../../src/charts/price-chart.ts", () => import("./charts.ts"));
vi.mock("../../src/charts/equity-chart.ts", () => import("./charts.ts"));
vi.mock("../../src/charts/playback-chart.ts", () => import("./charts.ts"));
vi.mock("../../src/features/runs/preload-run-view.ts", () => ({ preloadRunView: () => Promise.resolve() }));

configure({ asyncUtilTimeout: 10_000 });
afterEach(cleanup);
