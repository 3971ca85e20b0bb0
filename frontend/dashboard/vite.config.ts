import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The origin serves the page and everything that it calls; `make dev` borrows one that is already up.
const origin = `http://127.0.0.1:${process.env.ORIGIN_PORT || 8080}`;

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // The policy of the page forbids `data:` for anything but images.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: Object.fromEntries(
      ["/api", "/ofrep", "/health", "/backtests", "/bars"].map((path) => [path, { target: origin, ws: true }]),
    ),
  },
});
