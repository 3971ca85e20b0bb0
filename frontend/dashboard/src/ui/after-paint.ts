/** What is less urgent than what is being drawn. */

import { type RefObject, useEffect, useState } from "react";

/** Call back once the browser has painted the next frame; return how to call that off. */
export function afterPaint(act: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const frame = requestAnimationFrame(() => {
    timer = setTimeout(act);
  });
  return () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
}

/** Return a value as soon as something more urgent has been `painted`, or the next frame has; undefined before the first. */
export function useAfterPaint<T>(value: T | undefined, painted: RefObject<boolean>): T | undefined {
  const [shown, setShown] = useState<T>();
  useEffect(() => {
    const show = () => setShown(() => value);
    if (!painted.current) return afterPaint(show);
    show();
    return undefined;
  }, [value, painted]);
  return shown;
}
