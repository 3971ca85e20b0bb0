/** Calls back when an element is about to be pressed, so that its request is in flight before the press ends. */

/** A pointer, or the focus, that rests for so long does not only pass over. */
const HOVER_MS = 60;

/** There is one pointer and one focus: one wait for the whole page. */
let resting: ReturnType<typeof setTimeout> | undefined;

/** Return the handlers of an element that is meant to be pressed; `act` may be called more than once. */
export function prefetchOnHover(act: () => void) {
  const stop = () => clearTimeout(resting);
  const wait = () => {
    stop();
    resting = setTimeout(act, HOVER_MS);
  };
  const press = () => {
    stop();
    act();
  };
  return { onPointerEnter: wait, onPointerLeave: stop, onPointerDown: press, onFocus: wait, onBlur: stop };
}
