/** The page's colours for canvases, which know no custom properties. */

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

/** Read the colours as they are now; `light-dark()` comes out resolved only through a property that is a colour. */
export function readPalette(): Palette {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.hidden = true;
  const read = Object.entries(NAMES).map(([name, property]) => {
    probe.style.color = `var(${property})`;
    return [name, getComputedStyle(probe).color];
  });
  probe.remove();
  const palette = Object.fromEntries(read) as unknown as Palette;
  return { ...palette, accentNone: palette.accentSoft.replace(/[\d.]+\)$/, "0)") };
}
