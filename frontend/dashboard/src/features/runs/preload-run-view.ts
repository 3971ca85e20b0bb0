/** What is got ready while the list is read: the code of a run's view, and the browser's translation of it. */

const LONGEST_MS = 2000;
const PAUSE_MS = 200;

let begun = false;

/** Resolve when the browser has nothing better to do. */
const idle = () =>
  new Promise<unknown>((resolve) => {
    if ("requestIdleCallback" in window) requestIdleCallback(resolve, { timeout: LONGEST_MS });
    else setTimeout(resolve, PAUSE_MS);
  });

/** Have a run's view come and its charts drawn once out of sight; once in a page. */
export async function preloadRunView(): Promise<void> {
  if (begun) return;
  begun = true;
  try {
    await idle();
    const [{ warmUp }] = await Promise.all([import("../../charts/warm-up.ts"), import("../run/run-view.tsx")]);
    await warmUp(idle);
    performance.mark("prepared");
  } catch {
    // The view loads what is missing when it is opened, and shows the error.
    begun = false;
  }
}
