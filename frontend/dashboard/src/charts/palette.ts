/** The page's colours for canvases, which know no custom properties. */

import { shownTheme } from "../lib/theme.ts";

export interface Palette {
  text: string;
  muted: string;
  line: string;
  grid: string;
  ground: string;
  up: string;
  down: string;
  upSoft: string;
  downSoft: string;
  accent: string;
  accentSoft: string;
  /** The accent with nothing of it left: where a gradient ends. */
  accentNone: string;
}

const NAMES: Record<Exclude<keyof Palette, "accentNone">, string> = {
  text: "--text",
  muted: "--muted",
  line: "--line",
  grid: "--grid",
  ground: "--card",
  up: "--up",
  down: "--down",
  upSoft: "--up-soft",
  downSoft: "--down-soft",
  accent: "--accent",
  accentSoft: "--accent-soft",
};

const palettes = new Map<string, Palette>();

/** Return the colours of the theme that is shown, each read once. */
export function readPalette(): Palette {
  const theme = shownTheme();
  const palette = palettes.get(theme) ?? resolve();
  palettes.set(theme, palette);
  return palette;
}

/** `light-dark()` comes out resolved only through a property that is a colour; all are set before the first is read. */
function resolve(): Palette {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.hidden = true;
  const swatches = Object.entries(NAMES).map(([name, property]) => {
    const swatch = probe.appendChild(document.createElement("i"));
    swatch.style.color = `var(${property})`;
    return [name, swatch] as const;
  });
  const palette = Object.fromEntries(
    swatches.map(([name, swatch]) => [name, getComputedStyle(swatch).color]),
  ) as unknown as Palette;
  probe.remove();
  return { ...palette, accentNone: palette.accentSoft.replace(/[\d.]+\)$/, "0)") };
}
