/** Build the package that is published: `dist/index.js`, its types and its package.json. */
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("..", import.meta.url);
rmSync(new URL("dist", root), { recursive: true, force: true });
execFileSync("npx", ["--no-install", "tsc", "-p", "tsconfig.build.json"], {
  cwd: fileURLToPath(root),
  stdio: "inherit",
});
const { name, version, description, license, type, sideEffects } = JSON.parse(
  readFileSync(new URL("package.json", root), "utf8"),
);
const exported = {
  ".": { types: "./index.d.ts", default: "./index.js" },
  "./lib/*": { types: "./lib/*.d.ts", default: "./lib/*.js" },
};
const published = { name, version, description, license, type, sideEffects, exports: exported, files: ["**"] };
writeFileSync(new URL("dist/package.json", root), `${JSON.stringify(published, null, 2)}\n`);
