import { expect, test } from "vitest";
import { isOver } from "../../../src/index.ts";

test("a run is over once it is done, has failed or was cancelled", () => {
  expect(["DONE", "ERROR", "CANCELLED"].map(isOver)).toEqual([true, true, true]);
  expect(["QUEUED", "RUNNING"].map(isOver)).toEqual([false, false]);
});

test("a run of a status that nobody knows, or of none, is not over: it is asked for again", () => {
  expect([isOver("PAUSED"), isOver(""), isOver(undefined)]).toEqual([false, false, false]);
});
