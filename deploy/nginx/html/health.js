// Shows /health of the whole, asked for again every five seconds while the page is looked at.
const PERIOD_MS = 5000;
const whole = document.getElementById("whole");
const rows = document.getElementById("services");

function cell(row, text, kind) {
  const element = row.insertCell();
  element.textContent = text;
  if (kind) element.className = kind;
}

function dependencies(state) {
  return Object.entries(state.dependencies ?? {})
    .map(([name, one]) => `${name}: ${one.status}${one.error ? ` (${one.error})` : ""}`)
    .join(", ");
}

function show(health) {
  whole.textContent = health.status;
  whole.className = `badge ${health.status}`;
  rows.replaceChildren();
  for (const [name, state] of Object.entries(health.services)) {
    const row = rows.insertRow();
    cell(row, name);
    cell(row, state.status, state.status);
    cell(row, state.version ?? "–");
    cell(row, dependencies(state) || "–");
  }
}

async function look() {
  try {
    const answer = await fetch("/health", { signal: AbortSignal.timeout(PERIOD_MS) });
    show(await answer.json());
  } catch {
    show({ status: "down", services: {} });
  }
}

look();
setInterval(() => document.hidden || look(), PERIOD_MS);
