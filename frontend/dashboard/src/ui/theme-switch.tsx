import { useSyncExternalStore } from "react";
import { currentTheme, onTheme, setTheme, THEMES, type Theme } from "../lib/theme.ts";

const WORDS: Record<Theme, string> = { auto: "Auto", light: "Light", dark: "Dark" };

export function ThemeSwitch() {
  const theme = useSyncExternalStore(onTheme, currentTheme);
  return (
    <label className="theme">
      <span className="unseen">Theme</span>
      <select value={theme} onChange={(event) => setTheme(event.target.value as Theme)}>
        {THEMES.map((name) => (
          <option key={name} value={name}>
            {WORDS[name]}
          </option>
        ))}
      </select>
    </label>
  );
}
