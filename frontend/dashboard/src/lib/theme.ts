/** Light or dark: as the system says, or as chosen here. */

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "theme";
const listeners = new Set<() => void>();
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen: Theme = read();

function read(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? "auto";
  } catch {
    return "auto";
  }
}

function announce(): void {
  for (const listener of listeners) listener();
}

export const currentTheme = () => chosen;

/** Return what is shown, the system's choice resolved. */
export const shownTheme = (): "light" | "dark" => (chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen);

/** Take a theme into effect, and keep it where the browser lets us. */
export function setTheme(theme: Theme): void {
  chosen = theme;
  document.documentElement.dataset["theme"] = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // A browser that keeps nothing shows the choice until the page is closed.
  }
  announce();
}

/** Be told when colours change, by choice or by the system. */
export function onTheme(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Begin with the theme that was kept. */
export function startTheme(): void {
  document.documentElement.dataset["theme"] = chosen;
  dark.addEventListener("change", announce);
}
