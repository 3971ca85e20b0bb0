/** Tells what somebody is about to press, so that its answer is under way before the press ends. */

/** So long a pointer or the focus rests on what is meant and does not only pass over it. */
const REST_MS = 60;

/** There is one pointer and one focus: one wait for the whole page. */
let resting: ReturnType<typeof setTimeout> | undefined;

/** Return the handlers of an element that is meant to be pressed; `act` may be called more than once. */
export function onIntent(act: () => void) {
  const stop = () => clearTimeout(resting);
  const wait = () => {
    stop();
    resting = setTimeout(act, REST_MS);
  };
  const press = () => {
    stop();
    act();
  };
  return { onPointerEnter: wait, onPointerLeave: stop, onPointerDown: press, onFocus: wait, onBlur: stop };
}
