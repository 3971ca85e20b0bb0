/** Light or dark: as the system says, or as chosen here. */

import { Store } from "bff-client/lib/observable";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const chosen = new Store<Theme>(read());

function read(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? "auto";
  } catch {
    return "auto";
  }
}

export const currentTheme = chosen.get;

/** Return what is shown, the system's choice resolved. */
export const shownTheme = (): "light" | "dark" => {
  const theme = chosen.get();
  return theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
};

/** Take a theme into effect, and keep it where the browser lets us. */
export function setTheme(theme: Theme): void {
  document.documentElement.dataset["theme"] = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // A browser that keeps nothing shows the choice until the page is closed.
  }
  chosen.set(theme);
}

/** Call a listener when the colours change, by choice or by the system. */
export const onTheme = chosen.subscribe;

/** Begin with the theme that was kept. */
export function startTheme(): void {
  document.documentElement.dataset["theme"] = chosen.get();
  dark.addEventListener("change", () => chosen.set(chosen.get()));
}
