/**
 * Count the code that a data-heavy view needs on either side (list and detail of runs, charts, playback), as a page
 * would load it: bundled, what is not reached shaken off. Prints JSON. What both sides need alike (errors, HTTP, sharing,
 * falling back) is in `whole` only. Views are counted to the BFF, though legacy's are put together by the same code.
 */
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import ts from "typescript";

const root = new URL("..", import.meta.url).pathname;
const LEGACY = 'export * from "./src/legacy/index.ts"';
const SINGLE = 'export { bff } from "./src/bff/adapter.ts"; export { BffFeed } from "./src/stream/bff-feed.ts"';
const BFF = `${SINGLE}; export { getView } from "./src/bff/view.ts"`;

const SHARED =
  '; export { makeHttpConfig, RequestContext } from "./src/http/request-context.ts"; export { Calls } from "./src/calls.ts"';

async function bundled(contents, { minify, without }) {
  const apart = {
    name: "apart",
    setup: ({ onResolve }) =>
      onResolve(
        { filter: /legacy\/index\.ts$|\/(?:calls|errors|feed|inflight-requests|request-context)\.ts$/ },
        ({ path, importer }) =>
          (path.endsWith("legacy/index.ts") && importer.endsWith("calls.ts")) ||
          (without && !path.includes("legacy") && !(path.endsWith("/feed.ts") && importer.endsWith("legacy/index.ts")))
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

const figures = {
  legacy: { own: await counted(LEGACY, true), whole: await counted(LEGACY + SHARED, false) },
  bff: {
    single: await counted(SINGLE, true),
    own: await counted(BFF, true),
    whole: await counted(BFF + SHARED, false),
  },
};
process.stdout.write(`${JSON.stringify(figures)}\n`);
