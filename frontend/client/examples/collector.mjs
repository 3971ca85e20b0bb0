/**
 * A collector for what `collect-reports.ts` sends: adds it up and answers `/metrics` for Prometheus.
 *
 *     node examples/collector.mjs 9464        # 0 takes a free port, which is printed
 *
 * Whoever reaches it can send: put it behind the origin's own authentication. Labels are bounded, whatever is sent.
 */

import { createServer } from "node:http";

const CALLS = ["listRuns", "createRun", "getRun", "getChart", "getView", "openStream"];
const SIDES = ["bff", "legacy"];
const LARGEST = 256 * 1024;
const sums = new Map();

function add(name, labels, amount) {
  const key = `${name}{${labels}}`;
  sums.set(key, (sums.get(key) ?? 0) + amount);
}

function take({ call, side, ms, error, fallback, uncaught }) {
  if (typeof uncaught === "string") return add("page_uncaught_errors_total", "", 1);
  if (!CALLS.includes(call) || !SIDES.includes(side) || !Number.isFinite(ms)) return add("page_refused_total", "", 1);
  const labels = `call="${call}",side="${side}"`;
  add("page_calls_total", labels, 1);
  add("page_call_seconds_total", labels, ms / 1000);
  if (error) add("page_call_errors_total", labels, 1);
  if (fallback) add("page_call_fallbacks_total", labels, 1);
}

function receive(request, response) {
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (text) => {
    body += text;
    if (body.length > LARGEST) request.destroy();
  });
  request.on("end", () => {
    try {
      const { entries, dropped } = JSON.parse(body);
      for (const entry of entries) take(entry);
      add("page_dropped_total", "", Number(dropped) || 0);
      response.writeHead(204).end();
    } catch {
      response.writeHead(400).end("not what collect-reports.ts sends\n");
    }
  });
}

const server = createServer((request, response) => {
  if (request.method === "POST") return receive(request, response);
  response.setHeader("content-type", "text/plain; version=0.0.4");
  response.end([...sums].map(([key, sum]) => `${key.replace("{}", "")} ${sum}\n`).join(""));
});
server.listen(Number(process.argv[2] ?? 9464), "127.0.0.1", () => {
  process.stdout.write(`collecting at http://127.0.0.1:${server.address().port}/\n`);
});
