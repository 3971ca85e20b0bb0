/** The session for every component. */

import type { FlagDetails } from "bff-client";
import { createContext, useContext, useEffect, useState } from "react";
import type { Session } from "./session.ts";

export const SessionContext = createContext<Session | undefined>(undefined);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("there is no session above this component");
  return session;
}

/** Flags as they are for this browser, and as they change. */
export function useFlags(): FlagDetails[] {
  const { flags } = useSession();
  const [details, setDetails] = useState(() => flags.details());
  useEffect(() => {
    setDetails(flags.details());
    return flags.subscribe(() => setDetails(flags.details()));
  }, [flags]);
  return details;
}
