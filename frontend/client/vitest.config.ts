import { defineConfig } from "vitest/config";

const origin = process.env["BFF_ORIGIN"];

export default defineConfig({
  test: {
    pool: "threads",
    // Most of the time goes into waiting for real sockets, so more workers than cores overlap it.
    maxWorkers: 4,
    // `vitest run --coverage`, which `make test-all` runs; what is generated is tested where it is generated from.
    coverage: { include: ["src/**/*.ts"], exclude: ["src/generated/**"], reporter: ["text"] },
    include: [origin ? "tests/integration/**/*.test.ts" : "tests/unit/**/*.test.ts"],
    // Guards against hanging, not measures: the machine may be busy.
    testTimeout: 90_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
