// Ink in a picture: 0 on paper, 1 inside the darkest (or lightest) stroke, as in clearhead.data.preprocessing.ink.

import { MIN_SCAN, keptParts } from "./components";
import { withoutLines } from "./lines";
import {
  above, any, closing, cropped, downsample, grid, heightOf, highest, inSquare, label, labelFree, leastSquares, longer, lowest, made, mapped,
  maskOf, mean, median, near, padded, quantile, residual, strokeWidth, sum, thinned, widthOf, type Box, type Grid,
} from "./pixels";

export interface Ink {
  values: Grid;
  parts: Grid; // connected components, numbered from 1, without lines, specks and what is beside the paper
  boxes: Map<number, Box>; // of each component
  largest: number; // component
  dark: boolean; // whether the ink is darker than the paper
}

const THUMB_SIDE = 64; // resolution at which dark ink on light paper is distinguished from light on dark
export const SMALL_SIDE = 48; // smaller images are scans of one digit: no desk
const [MIN_SLOPE, MAX_ROUGHNESS] = [0.2, 0.05]; // of the light of a scan, relative to the range of grey
const MIN_LINED = 32; // smaller images have no lines
const [MAX_STROKE, USUAL_STROKE] = [0.35, 0.06]; // widths, as fractions of the longer side
const MIN_CONTRAST = 0.08;
const GREY_LEVEL = 1 / 255;
const MIN_SIGNAL = 6; // difference of ink from paper, in standard deviations of the noise
const MIN_STROKES = 7; // length of strokes in widths; what is shorter may be a sheet
const MIN_ELONGATION = 2.7; // the same; what is shorter is a solid patch
const MIN_FILLED = 0.65; // share of its bounding box that a sheet fills
const MIN_PAPER = 0.75; // level of paper, relative to the lightest; a desk is darker
// Ratio of the darkest to the lightest of 5 pixels where no edge is; share of a border that is one.
const [MAX_GRADUAL, MIN_STEEP] = [0.9, 0.2];
const MAX_OUTSIDE = 0.9; // share of the image that may be beside the paper

/** Separates ink from paper, lines, and what is beside the paper; null without ink. Whether it is dark may be known. */
export function findInk(image: Grid, dark?: boolean): Ink | null {
  const isSmall = longer(image) <= SMALL_SIDE;
  const grey = isSmall ? evenlyLit(image) : image;
  const [byShare, byWidth] = dark === undefined ? isDarkOnLight(grey) : [dark, dark];
  const kinds = byShare === byWidth ? [byShare] : [true, false];
  const either = kinds.map((kind) => inkOf(grey, kind)).filter((ink) => ink !== null);
  if (either.length > 1) either.sort((a, b) => numCorners(a) - numCorners(b) || elongation(b) - elongation(a));
  const [ink] = either;
  if (!ink) return null;
  const { parts, largest, boxes } = ink;
  const box = boxes.get(largest)!;
  if (2 * sum(maskOf(cropped(parts, box), (number) => number === largest).values) < widthOf(box) * heightOf(box)) return ink;
  const within = dark === undefined && !isSmall && elongation(ink) < MIN_STROKES ? inside(grey, ink) : null;
  return elongation(within ?? ink) >= MIN_ELONGATION ? (within ?? ink) : null;
}

/** The corners of the image that are ink; those of a tightly cropped digit are paper. */
function numCorners({ parts: { width, values } }: Ink): number {
  return [0, width - 1, values.length - width, values.length - 1].filter((at) => values[at]).length;
}

/** Length of the strokes of the largest component, relative to their width. */
function elongation({ parts, boxes, largest }: Ink): number {
  const part = padded(maskOf(cropped(parts, boxes.get(largest)), (number) => number === largest), 1);
  if (longer(part) < MIN_SCAN) return MIN_STROKES; // too coarse to measure
  return sum(part.values) / Math.max(1, strokeWidth(part)) ** 2;
}

function inkOf(image: Grid, dark: boolean): Ink | null {
  const grey = dark ? image : mapped(image, (value) => 1 - value);
  const free = longer(grey) > SMALL_SIDE ? strokes(grey, closing(grey, MAX_STROKE), dark, true) : null;
  if (free) return free;
  // Of a scan, whose digit may fill it, the paper is the median of the lighter half.
  const middle = (highest(grey.values) + lowest(grey.values)) / 2;
  const paper = median(grey.values.filter((value) => value >= middle));
  return strokes(grey, mapped(grey, () => paper), dark, false);
}

/** A scan without the slope of its light, if its border is a plane but for noise. */
function evenlyLit(grey: Grid): Grid {
  const { width, height, values } = grey;
  const place = (at: number, length: number): number => (length > 1 ? (2 * at) / (length - 1) - 1 : -1);
  const border: number[][] = []; // value, 1, row, column
  values.forEach((value, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    if (Math.min(x, y, width - 1 - x, height - 1 - y) < 2) border.push([value, 1, place(y, height), place(x, width)]);
  });
  const rangeOf = (numbers: number[]): number => Math.max(...numbers) - Math.min(...numbers);
  const span = highest(values) - lowest(values);
  if (rangeOf(border.map(([value]) => value)) < MIN_SLOPE * span) return grey;
  const plane = leastSquares(border);
  if (median(border.map((row) => Math.abs(residual(row, plane)))) >= MAX_ROUGHNESS * span) return grey;
  return made(width, height, (x, y) => Math.min(1, Math.max(0, values[y * width + x] - plane[1] * place(y, height) - plane[2] * place(x, width))));
}

/** The strokes on a solid patch: it is the sheet, on a desk that is darker or lighter. */
function inside(grey: Grid, ink: Ink): Ink | null {
  const box = ink.boxes.get(ink.largest)!;
  const part = maskOf(cropped(ink.parts, box), (number) => number === ink.largest);
  const free = labelFree(part).labels;
  const filled = maskOf(cropped(free, [1, 1, free.width - 1, free.height - 1]), (number) => number !== 1);
  const patch = inSquare(padded(filled, 2), 5, false);
  if (longer(patch) < SMALL_SIDE || mean(patch) < MIN_FILLED) return null;
  const seen = cropped(grey, box);
  const usual = median(seen.values.filter((_, i) => patch.values[i]));
  const sheet = mapped(seen, (value, i) => (patch.values[i] ? value : usual));
  const found = inkOf(sheet, !ink.dark) ?? inkOf(sheet, ink.dark);
  if (!found) return null;
  const [left, top] = box;
  const placed = (image: Grid): Grid => {
    const whole = grid(grey.width, grey.height);
    for (let y = 0; y < image.height; y++) whole.values.set(image.values.subarray(y * image.width, (y + 1) * image.width), (y + top) * grey.width + left);
    return whole;
  };
  const boxes = new Map([...found.boxes].map(([number, [x0, y0, x1, y1]]) => [number, [x0 + left, y0 + top, x1 + left, y1 + top] as Box]));
  return { ...found, values: placed(found.values), parts: placed(found.parts), boxes };
}

/** The ink on a background; with `isFree`, only if it touches neither border nor desk. */
function strokes(grey: Grid, background: Grid, dark: boolean, isFree: boolean): Ink | null {
  const level = quantile(thinned(background, 4).values.sort(), 0.9);
  const outside = besidePaper(background, level);
  const signal = mapped(grey, (value, i) => {
    const paper = background.values[i];
    return dark ? Math.fround(paper - value) / Math.max(paper, Math.fround(Math.max(0.4 * level, 0.05))) : paper - value;
  });
  const values = scaled(signal, outside, isFree);
  if (!values) return null;
  const mask = maskOf(values, (value) => value > 0.5);
  const rest = longer(mask) > MIN_LINED ? withoutLines(maskOf(values, (value) => value > 0.25), outside) : mask;
  const thin = maskOf(mask, (value, i) => value && rest.values[i]);
  const lines = maskOf(mask, (value, i) => value && !thin.values[i]);
  let unlined = grey;
  if (any(lines)) {
    const [around, thick] = [near(lines, 2).values, near(thin, 1).values];
    const isSoft = (i: number): boolean => around[i] > 0 && !thick[i];
    values.values.forEach((_, i) => isSoft(i) && (values.values[i] = 0));
    if (!any(outside)) unlined = mapped(grey, (value, i) => (isSoft(i) ? background.values[i] : value)); // the grain of a desk has lines, too
  }
  const components = label(thin);
  const kept = keptParts(components, thin, unlined, outside, isFree);
  if (!kept.length) return null;
  const { labels, boxes, areas } = components;
  const largest = kept.reduce((a, b) => (areas[b] > areas[a] ? b : a));
  const isKept = new Set(kept);
  return { values, parts: mapped(labels, (number) => (isKept.has(number) ? number : 0)), boxes: new Map(kept.map((number) => [number, boxes[number]])), largest, dark };
}

/** What is much darker than the paper, and ends at an edge; a shade ends gradually. */
function besidePaper(background: Grid, level: number): Grid {
  const dark = maskOf(background, (value) => value < Math.fround(MIN_PAPER * level));
  if (!any(dark)) return dark;
  const { width, height } = background;
  const clamp = (at: number, length: number): number => Math.min(length - 1, Math.max(0, at - 2));
  const around = made(width + 4, height + 4, (x, y) => background.values[clamp(y, height) * width + clamp(x, width)]);
  const [low, high] = [inSquare(around, 5, false).values, inSquare(around, 5, true).values];
  const beyond = near(maskOf(dark, (value) => !value), 1).values;
  const { labels, areas } = label(dark);
  const [length, steep] = [areas.map(() => 0), areas.map(() => 0)];
  labels.values.forEach((number, i) => {
    if (!number || !beyond[i]) return;
    length[number]++;
    if (low[i] < Math.fround(Math.fround(MAX_GRADUAL) * high[i])) steep[number]++;
  });
  return maskOf(labels, (number) => steep[number] > MIN_STEEP * length[number]);
}

/** Whether the ink is darker than the paper: by its share of the picture and border, and by width. */
function isDarkOnLight(grey: Grid): [boolean, boolean] {
  const small = downsample(grey, THUMB_SIDE);
  const { width, height, values } = small;
  const middle = Math.fround((highest(values) + lowest(values)) / 2);
  const light = maskOf(small, (value) => value > middle);
  const sides: Box[] = [[0, 0, width, 1], [0, height - 1, width, height], [0, 0, 1, height], [width - 1, 0, width, height]];
  const border = sides.reduce((all, side) => all + sum(cropped(light, side).values), 0) / (2 * (width + height));
  const byShare = border + mean(light) >= 1;
  if (longer(small) <= SMALL_SIDE) return [byShare, byShare];
  const at = (x: number, y: number): number => values[Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))];
  const smooth = made(width, height, (x, y) => [-1, 0, 1].reduce((all, down) => all + at(x - 1, y + down) + at(x, y + down) + at(x + 1, y + down), 0) / 9);
  const thin = [smooth, mapped(smooth, (value) => 1 - value)].map((one) => {
    const closed = closing(one, USUAL_STROKE).values;
    return one.values.map((value, i) => closed[i] - value);
  });
  const [ofDark, ofLight] = thin.map((one) => sum(one.map((value) => value * value)));
  return [byShare, ofDark >= ofLight];
}

/**
 * A difference scaled so that paper with its noise is 0, and the inside of a stroke 1; null if nothing stands out. It is
 * then measured without what is beside the paper: a desk has a grain.
 */
function scaled(signal: Grid, outside: Grid, isNoisy: boolean): Grid | null {
  const step = Math.max(1, Math.floor(longer(signal) / 128));
  const [values, beside] = [thinned(signal, step).values, thinned(outside, step).values];
  const share = sum(beside) / beside.length;
  const onPaper = share > 0 && share < MAX_OUTSIDE ? values.filter((_, i) => !beside[i]) : null;
  const found = levels(values.sort(), isNoisy) ?? (onPaper && levels(onPaper.sort(), isNoisy));
  if (!found) return null;
  const { paper, floor, contrast } = found;
  const range = Math.fround(contrast - floor);
  return mapped(signal, (value) => Math.min(1, Math.max(0, Math.fround(Math.fround(value - paper) - Math.fround(floor)) / range)));
}

/** The level of paper, and above it that of its noise and that of strokes; null without strokes. */
function levels(ordered: Float32Array, isNoisy: boolean): { paper: number; floor: number; contrast: number } | null {
  const middle = (quantile(ordered, 0.02) + quantile(ordered, 0.998)) / 2;
  const around = ordered.subarray(0, ordered.length - above(ordered, middle).length);
  const paper = quantile(around, 0.5);
  const noise = 1.4826 * quantile(around.map((value) => Math.abs(value - paper)).sort(), 0.5);
  const limit = paper + Math.max(4 * noise, MIN_CONTRAST / 2);
  const stroke = above(ordered, limit);
  if (!stroke.length) return null;
  const half = (paper + quantile(stroke, 0.9)) / 2;
  const contrast = quantile(above(stroke, half, true), 0.8) - paper;
  if (contrast < MIN_CONTRAST || (contrast < MIN_SIGNAL * noise && (isNoisy || contrast < 0.5))) return null;
  // The soft edges of an enlarged scan are not noise.
  return { paper, floor: Math.max(Math.min(3 * noise, 0.2 * contrast), GREY_LEVEL), contrast };
}
