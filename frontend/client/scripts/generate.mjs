/**
 * Make `src/generated` from the services' OpenAPI documents and the schema of the stream's messages; with `--check` only
 * tell whether it is up to date.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";

const root = new URL("..", import.meta.url);
const read = (path) => JSON.parse(readFileSync(new URL(path, root), "utf8"));
const NOTE =
  "// Made by `npm run generate` from the services' OpenAPI and schema/stream.schema.json; not to be edited.\n";

const aggregator = read("openapi/aggregator.json");
const proxy = read("openapi/proxy.json");
const stream = read("schema/stream.schema.json");

/** OpenAPI 3.1 schemas are JSON Schema; only references have another root. */
const asOpenApi = ({ title, $defs }) => ({
  openapi: "3.1.0",
  info: { title, version: "1" },
  paths: {},
  components: { schemas: JSON.parse(JSON.stringify($defs).replaceAll("#/$defs/", "#/components/schemas/")) },
});

const types = async (document) =>
  NOTE + astToString(await openapiTS(document, { alphabetize: true, defaultNonNullable: false }));

/** The words of JSON Schema that the checker knows; the rest, such as examples, would only be freight. */
const WORDS = ["$ref", "type", "enum", "const", "anyOf", "items", "properties", "required"];

function pruned(schema) {
  const kept = {};
  for (const word of WORDS.filter((name) => name in schema)) {
    const value = schema[word];
    if (word === "$ref") kept[word] = value.split("/").at(-1);
    else if (word === "anyOf") kept[word] = value.map(pruned);
    else if (word === "items") kept[word] = pruned(value);
    else if (word === "properties") {
      kept[word] = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, pruned(inner)]));
    } else kept[word] = value;
  }
  return kept;
}

/** The schemas that are reached from some of them. */
function closure(all, names) {
  const found = {};
  const visit = (name) => {
    if (name in found) return;
    found[name] = pruned(all[name]);
    for (const [, next] of JSON.stringify(found[name]).matchAll(/"\$ref":"(\w+)"/g)) visit(next);
  };
  names.forEach(visit);
  return found;
}

const answer = aggregator.paths["/api/v1/chart-data"].get.responses["200"].content["application/json"].schema;
const columns = answer.anyOf.find(({ properties }) => "t" in properties);
/** What the client hands out: the columns apart from what is said about them. */
const chart = (({ t, o, h, l, c, v, s: _, n: __, ...rest }) => ({
  type: "object",
  required: [...Object.keys(rest), "columns"],
  properties: {
    ...rest,
    columns: { type: "object", required: ["t", "o", "h", "l", "c", "v"], properties: { t, o, h, l, c, v } },
  },
}))(columns.properties);
const schemas = {
  ...closure({ ...aggregator.components.schemas, Chart: chart }, ["RunPage", "CompleteRun", "RunStatus", "Chart"]),
  ...closure(stream.$defs, ["StreamMessage"]),
};

const files = {
  "aggregator.ts": await types(aggregator),
  "proxy.ts": await types(proxy),
  "stream.ts": await types(asOpenApi(stream)),
  "schemas.ts": `${NOTE}export const SCHEMAS: Record<string, unknown> = ${JSON.stringify(schemas, null, 1)};\n`,
};

const folder = new URL("src/generated/", root);
mkdirSync(folder, { recursive: true });
const current = (name) => {
  try {
    return readFileSync(new URL(name, folder), "utf8");
  } catch {
    return undefined;
  }
};
const old = Object.keys(files).filter((name) => current(name) !== files[name]);
if (process.argv.includes("--check")) {
  for (const name of old) process.stderr.write(`src/generated/${name} is out of date; run \`make docs\`\n`);
  process.exitCode = old.length ? 1 : 0;
} else {
  for (const name of old) writeFileSync(new URL(name, folder), files[name]);
}
