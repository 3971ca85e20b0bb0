/** What of the client reaches a page, built as a page is built. */

import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { expect, test } from "vitest";

const ROOT = new URL("../..", import.meta.url).pathname;
const LIMIT = 12_800;
const LIMIT_OF_ALL = 26_500;

async function bundled(code: string, mode: "production" | "development"): Promise<string[]> {
  const result = await build({
    stdin: { contents: code, resolveDir: ROOT, loader: "ts" },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    define: { "process.env.NODE_ENV": JSON.stringify(mode) },
    splitting: true,
    outdir: "/",
    write: false,
  });
  return result.outputFiles.map(({ text }) => text);
}

const sizeOf = (files: string[]): number => files.reduce((sum, code) => sum + gzipSync(code).length, 0);
const all = async (code: string, mode: "production" | "development"): Promise<string> =>
  (await bundled(code, mode)).join("");

test("what a page loads to begin with is about 12 kB gzipped, and the legacy side comes apart from it", async () => {
  const files = await bundled('export * from "./src/index.ts"', "production");
  const first = files.filter((code) => !code.includes("/bars/minute"));
  expect(first.length).toBeLessThan(files.length);
  expect(sizeOf(first)).toBeLessThan(LIMIT);
  expect(sizeOf(files)).toBeLessThan(LIMIT_OF_ALL);
});

test("a production build has neither checks nor schemas", async () => {
  const sign = "not what the schema says";
  const code = 'export { createClient } from "./src/index.ts"';
  expect((await all(code, "development")).includes(sign)).toBe(true);
  expect((await all(code, "production")).includes(sign)).toBe(false);
});

test("what a page does not import is left out", async () => {
  const files = await bundled('export { OfrepFlags } from "./src/index.ts"', "production");
  const loaded = files.filter((code) => !code.includes("/bars/minute")).join("");
  expect(loaded.includes("/ofrep/v1/evaluate/flags")).toBe(true);
  expect(loaded.includes("WebSocket")).toBe(false);
});
