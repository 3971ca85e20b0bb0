import { expect, test, vi } from "vitest";
import { Emitter, Store } from "../../../src/lib/observable.ts";

test("what one listener throws reaches neither the others nor whoever emits", () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  const emitter = new Emitter<number>();
  const heard: number[] = [];
  emitter.subscribe(() => {
    throw new Error("a listener's own affair");
  });
  emitter.subscribe((event) => heard.push(event));
  emitter.emit(1);
  expect(heard).toEqual([1]);
  expect(log).toHaveBeenCalledOnce();
  log.mockRestore();
});

test("a listener that was removed, or removes itself, hears no more", () => {
  const emitter = new Emitter<number>();
  const heard: number[] = [];
  const stop = emitter.subscribe((event) => {
    heard.push(event);
    stop();
  });
  emitter.emit(1);
  emitter.emit(2);
  expect(heard).toEqual([1]);
});

test("a store has its new value when its listeners are called, and calls none after it was closed", () => {
  const store = new Store("one");
  const seen: string[] = [];
  store.subscribe(() => seen.push(store.get()));
  store.set("two");
  store.close();
  store.set("three");
  expect(seen).toEqual(["two"]);
  expect(store.get()).toBe("three");
});
