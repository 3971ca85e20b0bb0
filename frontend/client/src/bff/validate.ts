/**
 * Checks answers and messages against the services' schemas, as far as JSON Schema is used in them. For development:
 * a production build drops this module and the schemas with it.
 */

import { BffError, isObject } from "../errors.ts";
import { SCHEMAS } from "../generated/schemas.ts";

export type SchemaName = "RunPage" | "CompleteRun" | "RunStatus" | "Chart" | "StreamMessage";

interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
}

/** Raise BffError (MALFORMED) with every place where a value is not what the schema says, at most five of them. */
export function validate(name: SchemaName, value: unknown): void {
  const wrong = violations({ $ref: name }, value, name);
  if (wrong.length) {
    throw new BffError("MALFORMED", `not what the schema says: ${wrong[0]}`, { details: { wrong: wrong.slice(0, 5) } });
  }
}

function violations(schema: Schema, value: unknown, at: string): string[] {
  if (schema.$ref !== undefined) return violations(SCHEMAS[schema.$ref] as Schema, value, at);
  if ("const" in schema && value !== schema.const) return [`${at} is not ${JSON.stringify(schema.const)}`];
  if (schema.enum && !schema.enum.includes(value)) return [`${at} is none of ${schema.enum.join(", ")}`];
  const types = [schema.type ?? []].flat();
  if (types.length && !types.some((type) => isOf(type, value))) return [`${at} is no ${types.join(" or ")}`];
  if (schema.anyOf) {
    const each = schema.anyOf.map((one) => violations(one, value, at));
    if (!each.some((wrong) => wrong.length === 0)) return each.sort((a, b) => a.length - b.length)[0] ?? [];
  }
  if (Array.isArray(value))
    return schema.items ? value.flatMap((item, row) => violations(schema.items ?? {}, item, `${at}[${row}]`)) : [];
  if (!isObject(value)) return [];
  const missing = (schema.required ?? []).filter((name) => !(name in value)).map((name) => `${at}.${name} is missing`);
  const inner = Object.entries(schema.properties ?? {})
    .filter(([name]) => name in value)
    .flatMap(([name, property]) => violations(property, value[name], `${at}.${name}`));
  return [...missing, ...inner];
}

function isOf(type: string, value: unknown): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isObject(value);
  if (type === "integer") return Number.isInteger(value);
  const kind: string = typeof value;
  return kind === type;
}
