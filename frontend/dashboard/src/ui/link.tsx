import type { MouseEvent, ReactNode } from "react";
import { navigate } from "../lib/navigation.ts";
import { formatRoute, type Route } from "../lib/route.ts";
import { prefetchOnHover } from "./prefetch-on-hover.ts";

interface Properties {
  to: Route;
  className?: string;
  /** Called when somebody is about to follow it, perhaps more than once. */
  prefetch?: () => void;
  /** Called before the page goes there. */
  onFollow?: () => void;
  children: ReactNode;
}

/** A link to a view: a plain click stays on the page, every other one is the browser's. */
export function Link({ to, className, prefetch, onFollow, children }: Properties) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    onFollow?.();
    navigate(to);
  };
  return (
    <a href={formatRoute(to)} className={className} onClick={follow} {...(prefetch && prefetchOnHover(prefetch))}>
      {children}
    </a>
  );
}
