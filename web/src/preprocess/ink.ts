// Ink in a picture: 0 on paper, 1 inside the darkest (or lightest) stroke, as in
// clearhead.data.preprocessing.ink. Printed lines are not searched for.

import { downsample, grid, rounded, transposed, type Grid } from "./image";

export interface Ink {
  values: Grid;
  parts: Int32Array; // connected components, numbered from 1; 0 is no ink
  boxes: Box[]; // of the component of that number; the first is unused
  dark: boolean; // whether the ink is darker than the paper
}

/** Left, top, right and bottom; the last two are exclusive. */
export type Box = [number, number, number, number];

const THUMB_SIDE = 64;
export const SMALL_SIDE = 48; // smaller pictures are scans of one digit
const MAX_STROKE = 0.35; // width, of the longer side
const USUAL_STROKE = 0.06;
const MIN_THIN = 0.15;
const MIN_CONTRAST = 0.08;
const GREY_LEVEL = 1 / 255;
const MIN_SIGNAL = 6; // difference of ink from paper, in standard deviations of the noise
const MIN_LENGTH = 0.025; // of a component that shows that the digit does not touch the border
const MIN_WIDTH = 0.012;
const MAX_PARTS = 40;

/** Separates ink from paper; null without ink. Whether the ink is darker than the paper may be known. */
export function findInk(grey: Grid, dark?: boolean): Ink | null {
  const [byShare, byWidth] = dark === undefined ? isDarkOnLight(grey) : [dark, dark];
  const kinds = byShare === byWidth ? [byShare] : [true, false];
  const found = kinds.map((kind) => inkOf(grey, kind)).filter((ink) => ink !== null);
  return found.sort((a, b) => elongation(b) - elongation(a))[0] ?? null;
}

function inkOf(image: Grid, dark: boolean): Ink | null {
  const grey = dark ? image : mapped(image, (value) => 1 - value);
  if (Math.max(grey.width, grey.height) > SMALL_SIDE) {
    const free = strokes(grey, closing(grey, MAX_STROKE), dark, true);
    if (free !== null) return free;
  }
  return strokes(grey, paperOfScan(grey), dark, false);
}

/** The ink on a background; with `isFree`, only if it touches neither border nor desk. */
function strokes(grey: Grid, background: Grid, dark: boolean, isFree: boolean): Ink | null {
  const thinned = background.values.filter((_, i) => i % background.width % 4 === 0 && Math.floor(i / background.width) % 4 === 0);
  const level = quantile(thinned.sort(), 0.9);
  const signal = mapped(grey, (value, i) => {
    const paper = background.values[i];
    return dark ? (paper - value) / Math.max(paper, Math.max(0.4 * level, 0.05)) : paper - value;
  });
  const values = scaled(signal, isFree);
  if (values === null) return null;
  const mask = Uint8Array.from(values.values, (value) => (value > 0.5 ? 1 : 0));
  const outside = Uint8Array.from(background.values, (value) => (value < 0.75 * level ? 1 : 0));
  const found = components(mask, grey.width, grey.height);
  const kept = keptParts(found, mask, outside, grey, isFree);
  if (!kept.some(Boolean)) return null;
  const parts = found.labels.map((label) => (kept[label] ? label : 0));
  return { values, parts, boxes: found.boxes.map((box, i) => (kept[i] ? box : [0, 0, 0, 0])), dark };
}

interface Components {
  labels: Int32Array;
  boxes: Box[];
  areas: number[];
}

/** Components of neighbours in eight directions, or without diagonals in four. */
export function components(mask: Uint8Array, width: number, height: number, diagonals = true): Components {
  const labels = new Int32Array(mask.length);
  const boxes: Box[] = [[0, 0, 0, 0]];
  const areas = [0];
  const stack: number[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || labels[start]) continue;
    const label = boxes.length;
    const box: Box = [width, height, 0, 0];
    let area = 0;
    labels[start] = label;
    stack.push(start);
    while (stack.length) {
      const place = stack.pop() as number;
      const [x, y] = [place % width, Math.floor(place / width)];
      area++;
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x + 1);
      box[3] = Math.max(box[3], y + 1);
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const [nx, ny] = [x + dx, y + dy];
          if (nx < 0 || ny < 0 || nx >= width || ny >= height || (dx && dy && !diagonals)) continue;
          const near = ny * width + nx;
          if (mask[near] && !labels[near]) {
            labels[near] = label;
            stack.push(near);
          }
        }
      }
    }
    boxes.push(box);
    areas.push(area);
  }
  return { labels, boxes, areas };
}

/** Which components are kept: no specks and, if others are as long, none at the border or on the desk. */
function keptParts({ labels, boxes, areas }: Components, mask: Uint8Array, outside: Uint8Array, { width, height }: Grid, isFree: boolean): boolean[] {
  const longer = Math.max(width, height);
  const lengths = boxes.map(sideOf);
  const isRim = boxes.map(([left, top, right, bottom]) => left === 0 || top === 0 || right === width || bottom === height);
  let free = boxes.map((_, i) => i > 0 && !isRim[i]);
  const sizes = [...areas];
  const longestOf = (chosen: boolean[]): number => Math.max(0, ...lengths.filter((_, i) => chosen[i]));
  if (isFree) {
    free = free.map((one, i) => one && sizes[i] >= 4);
    const beyond = new Array(boxes.length).fill(0);
    labels.forEach((label, i) => (beyond[label] += outside[i]));
    const onDesk = boxes.map((_, i) => beyond[i] > 0.5 * sizes[i]);
    const onPaper = free.map((one, i) => one && !onDesk[i]);
    if (longestOf(onPaper) >= MIN_LENGTH * longer) free = onPaper;
    const longest = longestOf(free);
    const solid = boxes.map((_, i) => i > 0 && sizes[i] > MIN_WIDTH * longer * lengths[i] && !onDesk[i]);
    if (longest < MIN_LENGTH * longer || longest < 0.4 * longestOf(solid)) return boxes.map(() => false);
    free.forEach((one, i) => {
      if (!one) sizes[i] = 0;
    });
  } else {
    if (longer >= 16 && hugsBorder(mask, width, height)) return boxes.map(() => false);
    if (longestOf(free) >= 0.4 * Math.max(...lengths)) free.forEach((one, i) => (sizes[i] = one ? sizes[i] : 0));
  }
  const largest = Math.max(...sizes.slice(1));
  const kept = sizes.map((area, i) => i > 0 && area > 0 && area >= 0.01 * largest);
  const limit = isFree ? MAX_PARTS : MAX_PARTS / 4;
  return kept.filter(Boolean).length > limit ? boxes.map(() => false) : kept;
}

/** Whether nearly all ink is at the border, as the remains of a frame. */
function hugsBorder(mask: Uint8Array, width: number, height: number): boolean {
  const [mx, my] = [rounded(width * 0.12), rounded(height * 0.12)];
  let [all, inside] = [0, 0];
  mask.forEach((value, i) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    all += value;
    if (x >= mx && x < width - mx && y >= my && y < height - my) inside += value;
  });
  return inside < 0.15 * all;
}

/** Whether the ink is darker than the paper: by its share of the picture and border, and by width. */
function isDarkOnLight(grey: Grid): [boolean, boolean] {
  const { image: small } = downsample(grey, THUMB_SIDE);
  const { width, height, values } = small;
  const [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const above = values.map((value) => (value > (high + low) / 2 ? 1 : 0));
  const border: number[] = [];
  for (let x = 0; x < width; x++) border.push(above[x], above[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(above[y * width], above[y * width + width - 1]);
  const mean = (list: ArrayLike<number>): number => Array.from(list).reduce((sum, value) => sum + value, 0) / list.length;
  const byShare = mean(border) + mean(above) >= 1;
  if (Math.max(width, height) <= SMALL_SIDE) return [byShare, byShare];
  const smooth = blurred(small);
  const dark = mapped(closing(smooth, USUAL_STROKE), (value, i) => value - smooth.values[i]).values;
  const light = mapped(closing(mapped(smooth, (value) => 1 - value), USUAL_STROKE), (value, i) => value - (1 - smooth.values[i])).values;
  const top = Math.max(dark.reduce((a, b) => Math.max(a, b)), light.reduce((a, b) => Math.max(a, b)));
  const range = smooth.values.reduce((a, b) => Math.max(a, b)) - smooth.values.reduce((a, b) => Math.min(a, b));
  if (top < MIN_THIN * range) return [byShare, byShare];
  const squares = (list: Float32Array): number => list.reduce((sum, value) => sum + value * value, 0);
  return [byShare, squares(dark) >= squares(light)];
}

/** Means of 3 × 3 pixels; beyond the border, the nearest one. */
function blurred(image: Grid): Grid {
  const { width, height, values } = image;
  const at = (x: number, y: number): number => values[Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))];
  return mapped(image, (_, i) => {
    let sum = 0;
    for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) sum += at((i % width) + dx, Math.floor(i / width) + dy);
    return sum / 9;
  });
}

/** The grey closing by a square (Serra 1982). Beyond the border it is dark. */
function closing(grey: Grid, share: number): Grid {
  const window = Math.max(3, rounded(share * Math.max(grey.width, grey.height)) | 1);
  const pad = window - 1;
  const [width, height] = [grey.width + 2 * pad, grey.height + 2 * pad];
  let padded = grid(width, height);
  for (let y = 0; y < grey.height; y++) {
    padded.values.set(grey.values.subarray(y * grey.width, (y + 1) * grey.width), (y + pad) * width + pad);
  }
  for (const extremum of [Math.max, Math.min]) {
    padded = transposed(sliding(transposed(sliding(padded, window, extremum)), window, extremum));
  }
  return padded;
}

/** The extremum of each `window` successive rows, from windows of 1, 2, 4, … rows. */
function sliding({ width, height, values }: Grid, window: number, extremum: (a: number, b: number) => number): Grid {
  let rows: Float32Array<ArrayBuffer> = values as Float32Array<ArrayBuffer>;
  let count = height;
  let size = 1;
  while (size < window) {
    const step = Math.min(size, window - size);
    count -= step;
    const next = new Float32Array(count * width);
    for (let i = 0; i < next.length; i++) next[i] = extremum(rows[i], rows[i + step * width]);
    rows = next;
    size += step;
  }
  return grid(width, count, rows);
}

/** The paper around a digit that may fill the picture. */
function paperOfScan(grey: Grid): Grid {
  const ordered = Float32Array.from(grey.values).sort();
  const middle = (ordered[0] + ordered[ordered.length - 1]) / 2;
  const above = ordered.filter((value) => value >= middle);
  const half = above.length >> 1;
  const level = above.length % 2 ? above[half] : (above[half - 1] + above[half]) / 2;
  return mapped(grey, () => level);
}

/** A difference scaled so that paper with its noise is 0, and the inside of a stroke 1; null without contrast. */
function scaled(signal: Grid, isNoisy: boolean): Grid | null {
  const step = Math.max(1, Math.floor(Math.max(signal.width, signal.height) / 128));
  const sampled = signal.values.filter((_, i) => (i % signal.width) % step === 0 && Math.floor(i / signal.width) % step === 0);
  const ordered = sampled.sort();
  const middle = (quantile(ordered, 0.02) + quantile(ordered, 0.998)) / 2;
  const around = ordered.filter((value) => value <= middle);
  const paper = quantile(around, 0.5);
  const noise = 1.4826 * quantile(around.map((value) => Math.abs(value - paper)).sort(), 0.5);
  const limit = paper + Math.max(4 * noise, MIN_CONTRAST / 2);
  const stroke = ordered.filter((value) => value > limit);
  if (stroke.length === 0) return null;
  const half = (paper + quantile(stroke, 0.9)) / 2;
  const contrast = quantile(stroke.filter((value) => value >= half), 0.8) - paper;
  if (contrast < MIN_CONTRAST || (contrast < MIN_SIGNAL * noise && (isNoisy || contrast < 0.5))) return null;
  const floor = Math.max(Math.min(3 * noise, 0.2 * contrast), GREY_LEVEL);
  return mapped(signal, (value) => Math.min(1, Math.max(0, (value - paper - floor) / (contrast - floor))));
}

/** Length of the strokes of the largest component, relative to their width. */
function elongation({ parts, values: { width, height } }: Ink): number {
  const { areas, labels } = components(Uint8Array.from(parts, (label) => (label ? 1 : 0)), width, height);
  const largest = areas.indexOf(Math.max(...areas));
  const mask = Uint8Array.from(labels, (label) => (label === largest ? 1 : 0));
  return areas[largest] / Math.max(1, strokeWidth(mask, width, height, false)) ** 2;
}

/** In a band of width w, the mean distance to the nearest pixel outside is (w + 2) / 4. */
export function strokeWidth(mask: Uint8Array, width: number, height: number, isCropped: boolean): number {
  const distances = distancesOutside(mask, width, height, isCropped);
  let [sum, count] = [0, 0];
  mask.forEach((value, i) => {
    if (value) {
      sum += distances[i];
      count++;
    }
  });
  return 4 * (sum / count) - 2;
}

/** Distance of each pixel of the mask to the nearest one outside it; beyond a cropped border there is none. */
function distancesOutside(mask: Uint8Array, width: number, height: number, isCropped: boolean): Float64Array {
  const FAR = 1e9;
  const squares = Float64Array.from(mask, (value) => (value ? FAR : 0));
  const line = (start: number, step: number, count: number): void => {
    const values = Array.from({ length: count }, (_, i) => squares[start + i * step]);
    for (let i = 0; i < count; i++) {
      let best = isCropped ? FAR : Math.min((i + 1) ** 2, (count - i) ** 2);
      for (let j = 0; j < count; j++) best = Math.min(best, values[j] + (i - j) ** 2);
      squares[start + i * step] = best;
    }
  };
  for (let y = 0; y < height; y++) line(y * width, 1, width);
  for (let x = 0; x < width; x++) line(x, width, height);
  return squares.map(Math.sqrt);
}

export function mapped(image: Grid, change: (value: number, i: number) => number): Grid {
  return grid(image.width, image.height, image.values.map(change));
}

export function sideOf([left, top, right, bottom]: Box): number {
  return Math.max(right - left, bottom - top);
}

function quantile(ordered: Float32Array, share: number): number {
  return ordered[rounded(share * (ordered.length - 1))];
}
