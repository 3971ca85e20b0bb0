/** The page's one client and its flags, made when the page starts. */

import { type Client, createClient, type FlagSource, OfrepFlags, type Report } from "bff-client";

export interface Session {
  client: Client;
  flags: FlagSource;
}

/** Open the session; `onReport` hears of every call. */
export function openSession(onReport: (report: Report) => void): Session {
  const flags = new OfrepFlags();
  return { flags, client: createClient({ flags, onReport }) };
}
