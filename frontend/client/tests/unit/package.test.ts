/** The package as it is published runs in Node as it is. */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const ROOT = new URL("../..", import.meta.url);

test("the built package works in Node without a bundler", { timeout: 300_000 }, () => {
  execFileSync(process.execPath, ["scripts/build.mjs"], { cwd: ROOT, stdio: "pipe" });
  const { exports } = JSON.parse(readFileSync(new URL("dist/package.json", ROOT), "utf8"));
  const code = `
    const { createClient, OfrepFlags } = await import("./dist/${exports["."].default}");
    const flags = new OfrepFlags({ storage: null });
    const client = createClient({ flags, baseUrl: "http://127.0.0.1:1", validate: false });
    const error = await client.getRun("r").catch((error) => error);
    process.stdout.write(error.code + " " + error.correlationId.length);
  `;
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", code], { cwd: ROOT, encoding: "utf8" });
  expect(said).toBe("NETWORK 32");
});
