/**
 * Count the code that a data-heavy view needs on either side (list and detail of runs, charts, playback), as a page
 * would load it: bundled, what is not reached shaken off. Prints JSON. `shared` is what both sides need alike.
 */
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import ts from "typescript";

const root = new URL("..", import.meta.url).pathname;
const ENTRIES = {
  legacy: 'export * from "./src/legacy/index.ts"',
  bff: 'export { bff } from "./src/bff.ts"; export { BffFeed } from "./src/bfffeed.ts"',
};

const SHARED = '; export { Exchange, makeWire } from "./src/http.ts"';

async function bundled(contents, { minify, without }) {
  const apart = {
    name: "apart",
    setup: ({ onResolve }) =>
      onResolve({ filter: /\/(?:errors|feed|http)\.ts$/ }, ({ path, importer }) =>
        without && !(path.endsWith("/feed.ts") && importer.endsWith("legacy/index.ts"))
          ? { path, external: true }
          : null,
      ),
  };
  const result = await build({
    stdin: { contents, resolveDir: root, loader: "ts" },
    plugins: [apart],
    bundle: true,
    minify,
    format: "esm",
    target: "es2022",
    define: { "process.env.NODE_ENV": '"production"' },
    write: false,
  });
  return result.outputFiles[0].text;
}

function statements(code) {
  let count = 0;
  const visit = (node) => {
    const { kind } = node;
    if (kind >= ts.SyntaxKind.FirstStatement && kind <= ts.SyntaxKind.LastStatement && kind !== ts.SyntaxKind.Block)
      count++;
    if (ts.isFunctionLike(node) && !ts.isTypeNode(node)) count++;
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile("bundle.js", code, ts.ScriptTarget.ES2022));
  return count;
}

async function counted(entry, without) {
  const plain = await bundled(entry, { minify: false, without });
  const small = await bundled(entry, { minify: true, without });
  return {
    statements: statements(plain),
    lines: plain.split("\n").filter((line) => line.trim() && !line.trim().startsWith("//")).length,
    minified: small.length,
    gzipped: gzipSync(small).length,
  };
}

const figures = {};
for (const [side, entry] of Object.entries(ENTRIES)) {
  figures[side] = { own: await counted(entry, true), whole: await counted(entry + SHARED, false) };
}
process.stdout.write(`${JSON.stringify(figures)}\n`);
