import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { SessionContext } from "./api/context.ts";
import { createQueryClient, refetchEverything } from "./api/queries.ts";
import { openSession } from "./api/session.ts";
import { App, preload } from "./app.tsx";
import { recordReport } from "./features/engineering/visit-costs.ts";
import { currentRoute } from "./lib/navigation.ts";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/frame.css";
import "./ui/ui.css";
import "./features/runs/runs.css";
import "./features/run/run.css";
import "./features/playback/playback.css";
import "./features/engineering/engineering.css";
import { startTheme } from "./lib/theme.ts";

/** Longest wait for the flags where those of the last visit are known. */
const KNOWN_MS = 300;

startTheme();
preload(currentRoute());
const session = openSession(recordReport);
const queries = createQueryClient();
session.flags.subscribe(() => void refetchEverything(queries));

const root = document.getElementById("root");
if (!root) throw new Error("the page has no #root");
// Views wait for the flags, so that the first call already goes to the right side; the last known flags count if the
// evaluation fails or is late.
const asked = session.flags.start();
const known = session.flags.details().some(({ source }) => source !== "default");
const late = new Promise((resolve) => setTimeout(resolve, KNOWN_MS));
void (known ? Promise.race([asked, late]) : asked).then(() =>
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queries}>
        <SessionContext value={session}>
          <App />
        </SessionContext>
      </QueryClientProvider>
    </StrictMode>,
  ),
);
