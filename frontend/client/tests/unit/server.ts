/** A real HTTP server, with WebSocket, that a test tells what to answer. */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";

export interface Asked {
  method: string;
  url: string;
  headers: IncomingMessage["headers"];
  body: string;
}

export interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
  /** Write these in place of a body, as they come; an exception breaks the connection off. */
  pieces?: AsyncIterable<string>;
  /** Close the connection instead of answering. */
  broken?: boolean;
}

export interface Server {
  url: string;
  asked: Asked[];
  close(): Promise<void>;
}

export async function serve(
  answer: (asked: Asked) => Answer | Promise<Answer>,
  talk?: (socket: WebSocket, path: string) => void,
): Promise<Server> {
  const asked: Asked[] = [];
  const http = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const what = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, body };
    asked.push(what);
    const { status = 200, headers = {}, body: said, pieces, broken } = await answer(what);
    if (broken) {
      request.socket.destroy();
      return;
    }
    response.writeHead(status, { "content-type": "application/json", ...headers });
    if (pieces) {
      try {
        for await (const piece of pieces) {
          await new Promise((sent) => response.write(piece, sent));
          if (response.destroyed) return;
        }
        response.end();
      } catch {
        request.socket.end();
      }
      return;
    }
    response.end(said === undefined ? "" : typeof said === "string" ? said : JSON.stringify(said));
  });
  const sockets = new WebSocketServer({ server: http });
  sockets.on("connection", (socket, request) => talk?.(socket, request.url ?? ""));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const close = async (): Promise<void> => {
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
  };
  onTestFinished(close);
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, asked, close };
}
