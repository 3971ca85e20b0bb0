import { defineConfig } from "vitest/config";

const origin = process.env["BFF_ORIGIN"];

export default defineConfig({
  test: {
    pool: "threads",
    include: [origin ? "tests/integration/**/*.test.ts" : "tests/unit/**/*.test.ts"],
    testTimeout: origin ? 60_000 : 5_000,
  },
});
