/**
 * Keys of the backend's: symbols and ids of runs, handed on as they came. The rule is that of the services (`backend_keys`).
 *
 * Any printable text, bounded in length; case counts. What puts one into an address percent-encodes it. Pure.
 */

export const MAX_SYMBOL = 64;
const MAX_RUN_ID = 256;
const PRINTABLE = /^(?:[^\p{C}\p{Z}\uFFFD]| )+$/u;

function isKey(text: string, longest: number): boolean {
  return PRINTABLE.test(text) && [...text].length <= longest;
}

/** Tell whether a text can name an instrument; spaces at its ends are none of its own. */
export function isSymbol(text: string): boolean {
  return isKey(text, MAX_SYMBOL) && text === text.trim();
}

/** Tell whether a text can name a run, which is a step of a path as well. */
export function isRunId(text: string): boolean {
  return isKey(text, MAX_RUN_ID) && !text.includes("/") && text !== "." && text !== "..";
}
