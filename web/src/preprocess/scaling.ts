// Ink as MNIST has it, as in clearhead.data.preprocessing.scaling: on 28 × 28 pixels, the longer side of the ink
// 20 pixels, its centre of mass in the middle, in one width of strokes.

import type { Size } from "../engine/config";
import { boxOf, cropped, grid, highest, longer, made, mapped, maskOf, padded, rounded, sideOf, sliding, strokeWidth, type Grid } from "./pixels";
import { resizeArea } from "./resize";

export const SIDE = 28;
const INK_SIDE = 20;
const MIN_INK = 0.15; // fainter ink is ignored when the size is measured
const MAX_EROSION = 1; // on each side of a thick stroke; of 28 pixels
const [MIN_STROKE, NORMAL_STROKE, MAX_STROKE] = [1.3, 2, 4]; // thinner ones are dilated to the normal width, thicker ones eroded to the last

/** The model input, 0 to 255, of ink that is cut to its bounding box. */
export function asInMnist(ink: Grid): Uint8Array {
  const shift = (value: number): number => rounded(rounded(value * 1e4) / 1e4); // symmetric ink is often half a pixel from 14.0
  const { values } = centred(toInkSide(ink), [SIDE, SIDE], MIN_INK, shift);
  return Uint8Array.from(values, (value) => rounded(value * 255));
}

/** Scaled so that the longer side is 20 pixels; very thin strokes are dilated first, thick ones eroded. */
function toInkSide(image: Grid): Grid {
  let ink = longer(image) > 4 * INK_SIDE ? scaledTo(image, 4 * INK_SIDE) : image;
  let unit = longer(ink) / INK_SIDE;
  const top = highest(ink.values);
  const width = strokeWidth(maskOf(ink, (value) => value > 0.3 * top)) / unit;
  if (unit > 2 && width < MIN_STROKE) {
    ink = cropped(dilated(mapped(ink, (value) => value / top), ((NORMAL_STROKE - width) / 2) * unit));
  } else if (width > MAX_STROKE && unit >= 0.8) {
    if (unit <= 2) {
      ink = scaledTo(ink, 4 * INK_SIDE);
      unit = longer(ink) / INK_SIDE;
    }
    ink = eroded(ink, Math.min((width - MAX_STROKE) / 2, MAX_EROSION) * unit);
  }
  return scaledTo(ink, INK_SIDE);
}

/** The maximum within a disc, row by row of the disc, on an image that is larger by the disc on every side. */
function dilated(ink: Grid, radius: number): Grid {
  const reach = Math.ceil(radius);
  const larger = padded(ink, 2 * reach);
  const result = grid(ink.width + 2 * reach, ink.height + 2 * reach);
  for (let y = -reach; y <= reach; y++) {
    const square = radius ** 2 + 0.5 - y ** 2;
    if (square < 0) continue;
    const half = Math.floor(Math.sqrt(square));
    const widest = sliding(cropped(larger, [reach - half, 0, result.width + reach + half, larger.height]), 2 * half + 1, true);
    const from = (reach + y) * result.width;
    for (let i = 0; i < result.values.length; i++) result.values[i] = Math.max(result.values[i], widest.values[from + i]);
  }
  return result;
}

/** The minimum within a disc; unchanged if hardly anything would be left. */
function eroded(ink: Grid, radius: number): Grid {
  const reach = Math.ceil(radius);
  const paper = dilated(mapped(padded(ink, reach + 1), (value) => 1 - value), radius);
  const thinner = mapped(cropped(paper, [reach, reach, paper.width - reach, paper.height - reach]), (value) => 1 - value);
  return thinner.values.some((value) => value > 0.5) ? cropped(thinner) : ink;
}

/** Scaled so that the longer side of the box, without faint ink, is `side`; unless it is at most a tenth smaller. */
function scaledTo(ink: Grid, side: number): Grid {
  const box = sideOf(boxOf(ink, MIN_INK));
  const limit = (side * SIDE) / INK_SIDE;
  if (0.9 * side <= box && box <= side && longer(ink) <= limit) return ink;
  const scale = Math.min(side / box, limit / longer(ink));
  const [high, wide] = [ink.height, ink.width].map((length) => Math.max(1, rounded(length * scale)));
  return resizeArea(ink, high, wide);
}

/** Moved by whole pixels until the centre of mass is in the middle, as far as ink above a level stays in the image. */
export function centred(ink: Grid, [high, wide]: Size, above: number, round: (value: number) => number): Grid {
  const [left, top, right, bottom] = boxOf(ink, above);
  let [all, x, y] = [0, 0, 0];
  ink.values.forEach((value, i) => {
    all += value;
    x += value * (i % ink.width);
    y += value * Math.floor(i / ink.width);
  });
  const across = Math.min(Math.max(round(wide / 2 - x / all), -left), wide - right);
  const down = Math.min(Math.max(round(high / 2 - y / all), -top), high - bottom);
  const inside = (at: number, length: number): boolean => at >= 0 && at < length;
  return made(wide, high, (u, v) =>
    inside(u - across, ink.width) && inside(v - down, ink.height) ? ink.values[(v - down) * ink.width + u - across] : 0,
  );
}
