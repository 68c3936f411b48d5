// Colours of all pages: cividis for weights, orange to blue for signed numbers.

export type Colour = [number, number, number]; // red, green, blue, 0 to 255

// Cividis (Nuñez, Anderton and Renslow 2018): equally readable with colour blindness.
const STEPS = 1024;
const CIVIDIS = tableOf(
  (
    "00224e 00285b 002e6a 053371 1a386f 273e6e 32436d 3b496c 434e6c 4b546c 535a6d " +
    "5a5f6e 61656f 686a71 6f7073 767676 7d7c78 848279 8c8878 938e78 9b9476 a39a74 " +
    "aba072 b4a76f bcae6c c4b468 cdbb63 d5c25e dec958 e7d150 f0d846 f9e03a fee838"
  )
    .split(" ")
    .map(fromHex),
);
const SIGNED = tableOf(["b34700", "f7f4ef", "0063a6"].map(fromHex));
export const MAX_MULTIPLE = 16; // the scale of multiples goes from 1/16 to 16

export type ScaleMode = "fixed" | "even" | "stretched";

/** The colour of a share from 0 to 1 on the fixed scale, by its square root. */
export function shareColour(share: number): Colour {
  return onRamp(CIVIDIS, Math.sqrt(share));
}

/** The colour of a weight; `even` is 1 / number of keys, `largest` the largest weight shown. */
export function weightColour(weight: number, mode: ScaleMode, even: number, largest: number): Colour {
  if (mode === "even") return onRamp(SIGNED, (Math.log2(weight / even) / Math.log2(MAX_MULTIPLE) + 1) / 2);
  return shareColour(mode === "stretched" && largest > 0 ? weight / largest : weight);
}

/** The colour of a number from -domain to domain. */
export function signedColour(value: number, domain: number): Colour {
  return onRamp(SIGNED, (value / domain + 1) / 2);
}

/** The next larger of 1, 2, 3, 5, 10, 20, …, as the end of a scale. */
export function roundDomain(largest: number): number {
  if (!(largest > 0) || !Number.isFinite(largest)) return 1;
  const unit = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 3, 5, 10].map((step) => step * unit).find((domain) => domain >= largest * (1 - 1e-9)) ?? 10 * unit;
}

/** The largest absolute value; 0 without finite values. */
export function largestSize(...lists: ArrayLike<number>[]): number {
  let largest = 0;
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) {
      const size = Math.abs(list[i]);
      if (size > largest && size < Infinity) largest = size;
    }
  }
  return largest;
}

export function css([red, green, blue]: Colour): string {
  return `rgb(${red}, ${green}, ${blue})`;
}

/** Whether black has more contrast than white on it (WCAG 2 relative luminance). */
export function isLight(colour: Colour): boolean {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179;
}

/** The colour at a place from 0 to 1 of a table. */
function onRamp(table: Colour[], place: number): Colour {
  return table[place > 0 ? Math.min(STEPS, Math.round(place * STEPS)) : 0];
}

/** The ramp in small steps: thousands of pixels are coloured while a stroke is drawn. */
function tableOf(ramp: Colour[]): Colour[] {
  return Array.from({ length: STEPS + 1 }, (_, i) => {
    const at = (i / STEPS) * (ramp.length - 1);
    const [low, high] = [ramp[Math.floor(at)], ramp[Math.ceil(at)]];
    const mixed = (channel: number): number => Math.round(low[channel] + (high[channel] - low[channel]) * (at % 1));
    return [mixed(0), mixed(1), mixed(2)];
  });
}

function fromHex(hex: string): Colour {
  const number = parseInt(hex, 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}
