import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// A guard against hanging, not a measure: the machine may be busy.
const testTimeout = 20_000;

export default defineConfig({
  plugins: [react()],
  test: {
    pool: "threads",
    // By default one core is left free, which on two cores is half of them.
    maxWorkers: 2,
    // `vitest run --coverage`, which `make test-all` runs; drawing is tested in a browser, which it does not see.
    coverage: { include: ["src/**/*.{ts,tsx}"], reporter: ["text"] },
    // React takes <search>, which browsers know since 2023, for a mistake where the DOM of the tests does not.
    onConsoleLog: (log) => !log.includes("The tag <search> is unrecognized"),
    projects: [
      { extends: true, test: { name: "pure", include: ["tests/**/*.test.ts"], testTimeout } },
      {
        extends: true,
        test: {
          name: "components",
          include: ["tests/**/*.test.tsx"],
          environment: "happy-dom",
          setupFiles: ["tests/support/setup.ts"],
          testTimeout,
        },
      },
    ],
  },
});
