/** What is less urgent than what is being drawn. */

import { useEffect, useState } from "react";

/** Return a value as soon as the browser has painted what there was when it came; undefined before the first. */
export function useAfterPaint<T>(value: T | undefined): T | undefined {
  const [shown, setShown] = useState<T>();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    const frame = requestAnimationFrame(() => {
      timer = setTimeout(() => setShown(() => value));
    });
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
    };
  }, [value]);
  return shown;
}
