import { expect, test } from "vitest";
import { errorFromText, parseRetryAfter } from "../../src/errors.ts";

test("the canonical shape gives code, message, details and id", () => {
  const body = {
    error: { code: "RUN_NOT_FOUND", message: "no such run", details: { run_id: "x", correlation_id: "c1" } },
  };
  const error = errorFromText(404, JSON.stringify(body), { id: "header" });
  expect(error).toMatchObject({ code: "RUN_NOT_FOUND", message: "no such run", status: 404, correlationId: "c1" });
  expect(error.details["run_id"]).toBe("x");
});

test("a detail that is text has the code of its status, or of what is missing", () => {
  const text = JSON.stringify({ detail: "No data found" });
  expect(errorFromText(404, text, { id: "id" })).toMatchObject({
    code: "NOT_FOUND",
    message: "No data found",
    correlationId: "id",
  });
  expect(errorFromText(404, text, { id: "id", missing: "DATASET_NOT_FOUND" }).code).toBe("DATASET_NOT_FOUND");
});

test("a list of complaints names each field", () => {
  const detail = [{ type: "int_parsing", loc: ["query", "limit"], msg: "not a number", input: "x" }];
  const error = errorFromText(422, JSON.stringify({ detail }), { id: null });
  expect(error).toMatchObject({
    code: "VALIDATION",
    message: "invalid: limit",
    details: { fields: { limit: "not a number" } },
  });
});

test("a problem document is understood too", () => {
  const body = {
    type: "about:blank",
    title: "Busy",
    status: 503,
    detail: "too much",
    code: "BUSY",
    correlation_id: "c",
  };
  expect(errorFromText(503, JSON.stringify(body), { id: null })).toMatchObject({
    code: "BUSY",
    message: "too much",
    correlationId: "c",
  });
});

test.each([
  [500, "INTERNAL", false],
  [502, "BACKEND_UNAVAILABLE", true],
  [503, "BUSY", true],
  [504, "BACKEND_TIMEOUT", true],
  [429, "TOO_MANY_REQUESTS", true],
  [409, "CONFLICT", false],
  [418, "BAD_REQUEST", false],
])("%i without a readable body is %s", (status, code, retryable) => {
  expect(errorFromText(status, "<html>", { id: null })).toMatchObject({ code, status, retryable });
});

test.each([
  ["3", 3000],
  ["0", 0],
  ["Sat, 28 Nov 2026 10:00:20 GMT", 20_000],
  ["Sat, 28 Nov 2026 09:00:00 GMT", 0],
  ["999999999", 3_600_000],
  ["soon", null],
  ["", null],
  [null, null],
])("Retry-After %j is %j ms", (value, ms) => {
  expect(parseRetryAfter(value, Date.parse("2026-11-28T10:00:00Z"))).toBe(ms);
});
