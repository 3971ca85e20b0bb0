/** Our flags, evaluated by our own source and, unchanged, by OpenFeature's SDK for the web. */

import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, type Provider } from "@openfeature/web-sdk";
import { EventSource } from "eventsource";
import { expect, onTestFinished, test } from "vitest";
import { FLAG_KEYS, OfrepFlags, type OfrepOptions } from "../../src/index.ts";
import { client, origin } from "./stack.ts";

const headers = { authorization: `Bearer ${process.env["BFF_TOKEN"]}`, "content-type": "application/json" };

async function put(key: string, value: boolean): Promise<void> {
  const body = JSON.stringify({ value, reason: "a test" });
  const answer = await fetch(`${origin}/api/v1/flags/${key}`, { method: "PUT", headers, body });
  expect(answer.status).toBe(200);
}

async function reset(): Promise<void> {
  for (const key of FLAG_KEYS) await fetch(`${origin}/api/v1/flags/${key}`, { method: "DELETE", headers });
}

test.each<[string, Partial<OfrepOptions>]>([
  ["by event", { EventSource, pollMs: 60_000 }],
  ["by polling", { EventSource: null, pollMs: 100 }],
])("a change at runtime reaches an open page %s", async (_, options) => {
  const flags = new OfrepFlags({ baseUrl: origin, storage: null, ...options });
  onTestFinished(async () => {
    flags.close();
    await reset();
  });
  await flags.start();
  expect(flags.side("chart_data")).toBe("bff");
  for (const side of ["legacy", "bff"] as const) {
    const changed = new Promise<void>((resolve) => {
      const stop = flags.subscribe(() => {
        stop();
        resolve();
      });
    });
    await put("chart_data", side === "bff");
    await changed;
    expect(flags.side("chart_data")).toBe(side);
    expect(flags.side("run_data")).toBe("bff");
  }
  expect(flags.details()[1]).toMatchObject({ key: "chart_data", source: "runtime", reason: "a test" });
});

test("no call fails while flags flip under it", async () => {
  const flags = new OfrepFlags({ baseUrl: origin, storage: null, EventSource });
  onTestFinished(async () => {
    flags.close();
    await reset();
  });
  await flags.start();
  const of = client(flags);
  const sides = new Set<string>();
  of.on(({ side, error }) => {
    sides.add(side);
    expect(error).toBeUndefined();
  });
  let flipping = true;
  const flips = (async () => {
    for (const side of ["legacy", "bff", "legacy", "bff"] as const) {
      await put("bff", side === "bff");
      await expect.poll(() => flags.side("run_data"), { timeout: 10_000 }).toBe(side);
      const seen = new Promise<void>((resolve) => {
        const stop = of.on((report) => {
          if (report.side !== side) return;
          stop();
          resolve();
        });
      });
      await seen;
    }
  })().finally(() => {
    flipping = false;
  });
  for (let calls = 0; flipping; calls++) {
    const page = await of.listRuns({ limit: 3, offset: calls % 10 });
    expect(page.items).toHaveLength(3);
  }
  await flips;
  expect(sides).toEqual(new Set(["bff", "legacy"]));
});

test("OpenFeature's SDK for the web evaluates our flags as they are", async () => {
  // Its types are written without exactOptionalPropertyTypes.
  const provider = new OFREPWebProvider({ baseUrl: origin, pollInterval: 100 }) as Provider;
  await OpenFeature.setProviderAndWait(provider, { targetingKey: "somebody" });
  onTestFinished(async () => {
    await OpenFeature.close();
    await reset();
  });
  const sdk = OpenFeature.getClient();
  for (const key of FLAG_KEYS) {
    expect(sdk.getBooleanDetails(key, false)).toMatchObject({ value: true, variant: "on", reason: "STATIC" });
  }
  expect(sdk.getBooleanDetails("nothing", false)).toMatchObject({ value: false, errorCode: "FLAG_NOT_FOUND" });
  await put("websocket", false);
  await expect.poll(() => sdk.getBooleanValue("websocket", true), { timeout: 5_000 }).toBe(false);
});
