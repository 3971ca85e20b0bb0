/** Text out of a body as it comes: all of it, or line by line. */

import { BffError } from "../errors.ts";

/** Return the text of a body; `moved` is called for each piece of it. */
export async function readText(body: ReadableStream<Uint8Array>, moved: () => void): Promise<string> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    moved();
    text += decoder.decode(value, { stream: true });
  }
}

/** Yield the lines of a body, without empty ones. Raises BffError (MALFORMED) for a line of more characters than `most`. */
export async function* readLines(
  body: ReadableStream<Uint8Array>,
  most: number,
  count: (bytes: number) => void,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  // A line comes in many pieces; each is searched once, and they are put together once.
  let pieces: string[] = [];
  let length = 0;
  const piece = (text: string): void => {
    length += text.length;
    if (length > most) throw new BffError("MALFORMED", "a line of the answer is too long");
    pieces.push(text);
  };
  const line = (): string => {
    const text = pieces.join("");
    pieces = [];
    length = 0;
    return text;
  };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (value) count(value.byteLength);
      const texts = (done ? decoder.decode() : decoder.decode(value, { stream: true })).split("\n");
      const rest = texts.pop() ?? "";
      for (const text of texts) {
        piece(text);
        const whole = line();
        if (whole.trim()) yield whole;
      }
      piece(rest);
      if (!done) continue;
      const last = line();
      if (last.trim()) yield last;
      return;
    }
  } finally {
    // Who stops listening early, or in the middle of a line, lets the connection go.
    reader.cancel().catch(() => {});
  }
}
