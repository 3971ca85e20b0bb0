import { expect, test } from "vitest";
import { readLines } from "../../../src/http/body.ts";

async function read(chunks: Uint8Array[], most = 100): Promise<{ lines: string[]; bytes: number }> {
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  const lines: string[] = [];
  let bytes = 0;
  for await (const line of readLines(body, most, (count) => (bytes += count))) lines.push(line);
  return { lines, bytes };
}

const encoded = (text: string): Uint8Array => new TextEncoder().encode(text);

test.each([1, 2, 3, 7, 1000])("lines are whole when their bytes come by %d", async (size) => {
  const text = '{"a":"schön"}\n\n{"b":"€ 5"}\r\n{"c":"🦉"}';
  const bytes = encoded(text);
  const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.slice(i * size, (i + 1) * size),
  );
  expect(await read(chunks)).toEqual({ lines: ['{"a":"schön"}', '{"b":"€ 5"}\r', '{"c":"🦉"}'], bytes: bytes.length });
});

test("a line may be as long as its limit and no longer, however many there are", async () => {
  const longest = encoded(`${"x".repeat(100)}\n`);
  expect((await read([longest, longest, longest])).lines).toHaveLength(3);
  await expect(read([encoded("x".repeat(60)), encoded("x".repeat(41))])).rejects.toMatchObject({ code: "MALFORMED" });
});

test("who stops listening ends the body", async () => {
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(encoded("1\n")),
    cancel: () => {
      cancelled = true;
    },
  });
  for await (const _ of readLines(body, 100, () => {})) break;
  expect(cancelled).toBe(true);
});
