/** The stack that the tests run against,. */

import { WebSocket as NodeWebSocket } from "ws";
import type { Client, ClientOptions, FlagSource, RunStream, Side, StreamEvents } from "../../src/index.ts";
import { createClient } from "../../src/index.ts";
import { Switches } from "../switches.ts";

export const origin = process.env["BFF_ORIGIN"] ?? "";
/** Where a test can stop and start parts of the stack. */
const control = process.env["BFF_CONTROL"] ?? "";

export const WebSocket = NodeWebSocket as unknown as typeof globalThis.WebSocket;

export function client(flags: FlagSource | Side, options: Partial<ClientOptions> = {}): Client {
  const source = typeof flags === "string" ? new Switches(flags) : flags;
  return createClient({ baseUrl: origin, flags: source, WebSocket, fallback: false, validate: true, ...options });
}

export async function tell(verb: "stop" | "start", service: string): Promise<void> {
  const answer = await fetch(`${control}/${verb}/${service}`, { method: "POST" });
  if (!answer.ok) throw new Error(await answer.text());
}

/** Resolve with the first event of a kind that fits. */
export function next<K extends keyof StreamEvents>(
  stream: RunStream,
  type: K,
  fits: (event: StreamEvents[K]) => boolean = () => true,
): Promise<StreamEvents[K]> {
  return new Promise((resolve) => {
    const stop = stream.on(type, (event) => {
      if (!fits(event)) return;
      stop();
      resolve(event);
    });
  });
}
