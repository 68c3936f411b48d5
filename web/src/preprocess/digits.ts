// The digits in a picture as MNIST has them, as in clearhead.data.preprocessing.digits: light ink on
// 28 × 28 black pixels, the longer side of the ink 20 pixels, its centre of mass in the middle.

import type { Config, Size } from "../engine/config";
import { downsample, fitted, grid, resizeArea, rounded, toGrey, type Grid, type Pixels } from "./image";
import { SMALL_SIDE, components, findInk, mapped, sideOf, strokeWidth, type Box, type Ink } from "./ink";

/** Reasons to doubt that a picture shows one digit. */
export const WARNINGS = [
  "Several digits? Show one at a time.",
  "Very little ink: draw larger.",
  "More loops than a digit has.",
  "A dot above or below: a letter or a punctuation mark?",
  "A single stroke, more slanted or bent than a 1: a slash or a bracket?",
];
const [SEVERAL, TOO_SMALL, MANY_LOOPS, DOTTED, SLASH] = WARNINGS.keys();

const WORK_SIDE = 128; // of the longer side (up to twice that) when ink is searched
const MIN_SEEN = 48; // of a digit's longer side in that; a smaller one is searched again in a crop
const MAX_ASPECT = 2.2; // width of a digit, relative to its height
const SIDE = 28;
const INK_SIDE = 20;
const MIN_HEIGHT = 0.35; // of the highest digit
const MIN_SIDE = 6; // of the ink
const [MAX_LOOPS, MIN_LOOP] = [2, 0.008]; // areas are relative to the digit's box
const LOOPS_SEEN = 32; // side of the ink; in smaller pictures noise makes loops
const [MIN_DOT, MAX_DOT, MAX_DOT_GAP] = [0.05, 0.4, 0.4]; // relative to the height of the stroke
const MAX_BREADTH = 0.3; // of a single stroke, relative to its length; both as standard deviations
const [MIN_SLANT, MAX_SLANT, MAX_BEND] = [-48, 32, 0.17]; // of a 1, by nearly all writers
const MIN_INK = 0.15; // fainter ink is ignored when the size is measured
const MAX_EROSION = 1; // on each side of a thick stroke; of 28 pixels
const MIN_STROKE = 1.3; // thinner strokes are dilated to the normal width, thicker ones eroded to the last
const NORMAL_STROKE = 2;
const MAX_STROKE = 4;

export interface Digit {
  pixels: Uint8Array; // the model input, 0 to 255
  warnings: number[]; // places in WARNINGS
}

/** Each digit in reading order. */
export function findDigits(grey: Grid): Digit[] {
  const ink = findInk(downsample(grey, WORK_SIDE).image);
  if (ink === null) return [];
  const groups = groupsOf(ink).map((numbers) => ({ numbers, box: hull(numbers.map((number) => ink.boxes[number])) }));
  return inReadingOrder(groups).map(({ numbers, box }) => {
    const digit = cutOut(grey, ink, numbers, box);
    if (Math.max(grey.width, grey.height) <= SMALL_SIDE) return digit;
    const remarks = [...(hasDot(ink, numbers) ? [DOTTED] : []), ...(isSlash(digit.pixels) ? [SLASH] : [])];
    return { ...digit, warnings: [...digit.warnings, ...remarks] };
  });
}

/** Whether this is a single stroke, but slanted or bent more than a 1 is by writers. */
function isSlash(pixels: Uint8Array): boolean {
  const mass = pixels.reduce((sum, value) => sum + value, 0);
  const mean = (of: (x: number, y: number) => number): number =>
    pixels.reduce((sum, value, i) => (value ? sum + value * of(i % SIDE, Math.floor(i / SIDE)) : sum), 0) / mass;
  const [left, top] = [mean((x) => x), mean((_, y) => y)];
  const [across, down] = [mean((x) => (x - left) ** 2), mean((_, y) => (y - top) ** 2)];
  const both = mean((x, y) => (x - left) * (y - top));
  const spread = Math.hypot(across - down, 2 * both);
  const largest = (across + down + spread) / 2;
  if ((across + down - spread) / 2 >= MAX_BREADTH ** 2 * largest) return false;
  const slant = Math.atan2(2 * both, down - across) / 2; // from the vertical
  const [sin, cos] = [Math.sin(slant), Math.cos(slant)];
  const bend = mean((x, y) => ((x - left) * cos - (y - top) * sin) * ((x - left) * sin + (y - top) * cos) ** 2);
  const degrees = (slant * 180) / Math.PI;
  return Math.abs(bend) > MAX_BEND * largest ** 1.5 || degrees <= MIN_SLANT || degrees >= MAX_SLANT;
}

/** Whether a round component is above or below the highest stroke, as in i, ! and ?. */
function hasDot({ boxes, parts }: Ink, numbers: number[]): boolean {
  const [left, top, right, bottom] = boxes[[...numbers].sort((a, b) => length(boxes[b], 1) - length(boxes[a], 1))[0]];
  const high = bottom - top;
  return [...new Set(parts)].some((number) => {
    if (number === 0) return false;
    const box = boxes[number];
    const [small, large] = [length(box, 0), length(box, 1)].sort((a, b) => a - b);
    const gap = Math.max(box[1] - bottom, top - box[3]);
    const middle = (box[0] + box[2]) / 2;
    const isRound = MIN_DOT * high < large && large < Math.min(MAX_DOT * high, 2 * small);
    return left <= middle && middle <= right && isRound && gap > 0 && gap < MAX_DOT_GAP * high;
  });
}

/** The components of each digit; dots, commas and minus signs left out. */
function groupsOf({ boxes, parts }: Ink): number[][] {
  const present = [...new Set(parts)].filter((label) => label > 0);
  const groups: number[][] = [];
  for (const number of present.sort((a, b) => sideOf(boxes[b]) - sideOf(boxes[a]))) {
    const near = groups.find((group) => group.some((other) => belongTogether(boxes[number], boxes[other])));
    if (near) near.push(number);
    else groups.push([number]);
  }
  if (groups.length === 1) return [present];
  const heights = groups.map((group) => length(hull(group.map((number) => boxes[number])), 1));
  return groups.filter((_, i) => heights[i] >= MIN_HEIGHT * Math.max(...heights));
}

/** Length of a box along x (0) or y (1). */
export function length(box: Box, axis: 0 | 1): number {
  return box[axis + 2] - box[axis];
}

/** Whether two components are strokes of one digit: near each other, or pieces of a broken stroke. */
export function belongTogether(part: Box, other: Box): boolean {
  const sizes = [sideOf(part), sideOf(other)];
  const gapX = Math.max(part[0] - other[2], other[0] - part[2]);
  const gapY = Math.max(part[1] - other[3], other[1] - part[3]);
  const larger = Math.max(...sizes);
  const smaller = Math.min(...sizes);
  if (Math.max(gapX, gapY) < 0) return true;
  const heights = [length(part, 1), length(other, 1)];
  if (smaller < 0.6 * larger) {
    const isBar = 2 * heights[0] < length(part, 0);
    const isHigh = part[3] < other[1] + 0.3 * heights[1];
    return Math.max(gapX, gapY) < (isBar && isHigh ? 0.25 : 0.15) * larger;
  }
  if (gapY < 0 && Math.min(...heights) < 0.8 * Math.max(...heights) && gapX < 0.08 * larger) return true;
  const [width, height] = [length(hull([part, other]), 0), length(hull([part, other]), 1)];
  const isStacked = gapX < -0.5 * Math.min(length(part, 0), length(other, 0));
  return isStacked && gapY < 0.08 * larger && (width < 0.4 * larger || height < 2 * width);
}

export function hull(boxes: Box[]): Box {
  const all = (axis: number): number[] => boxes.map((box) => box[axis]);
  return [Math.min(...all(0)), Math.min(...all(1)), Math.max(...all(2)), Math.max(...all(3))];
}

/** Lines from top to bottom, in a line from left to right. */
function inReadingOrder<T extends { box: Box }>(digits: T[]): T[] {
  const lines: T[][] = [];
  for (const digit of [...digits].sort((a, b) => a.box[1] + a.box[3] - b.box[1] - b.box[3])) {
    const middle = (digit.box[1] + digit.box[3]) / 2;
    const line = lines[lines.length - 1];
    if (line?.some(({ box }) => box[1] <= middle && middle <= box[3])) line.push(digit);
    else lines.push([digit]);
  }
  return lines.flatMap((line) => line.sort((a, b) => a.box[0] - b.box[0]));
}

/** The digit with these components; a small one from a crop of the picture around it. */
function cutOut(grey: Grid, { values, parts, dark }: Ink, numbers: number[], box: Box): Digit {
  const { width, height } = values;
  const group = mapped(values, (_, i) => (numbers.includes(parts[i]) ? 1 : 0));
  const { factor } = downsample(grey, WORK_SIDE);
  const side = sideOf(box);
  if (factor === 1 || side > MIN_SEEN) return digitOf(values, group);
  const [left, top, right, bottom] = box.map((at, i) => rounded((at + (i < 2 ? -0.4 : 0.4) * side) * factor));
  const crop = cropped(grey, clamped([left, top, right, bottom], grey));
  const near = downsample(crop, WORK_SIDE / 2);
  const found = findInk(near.image, dark);
  if (found === null) return digitOf(values, group);
  // What was found nearby belongs to the digit only if it was found in the whole picture, too.
  const core = mapped(found.values, (_, i) => {
    const x = Math.min(width - 1, Math.floor(((i % near.image.width) * near.factor + Math.max(0, left)) / factor));
    const y = Math.min(height - 1, Math.floor((Math.floor(i / near.image.width) * near.factor + Math.max(0, top)) / factor));
    return found.parts[i] && cropped(group, clamped([x - 1, y - 1, x + 2, y + 2], group)).values.some(Boolean) ? 1 : 0;
  });
  return core.values.some(Boolean) ? digitOf(found.values, core) : digitOf(values, group);
}

function clamped([left, top, right, bottom]: Box, { width, height }: Grid): Box {
  return [Math.max(0, left), Math.max(0, top), Math.min(width, right), Math.min(height, bottom)];
}

/** The strokes of the core with their soft edges, scaled and centred. */
function digitOf(values: Grid, core: Grid): Digit {
  const box = boxOf(core, 0);
  const reach = Math.max(3, rounded(sideOf(box) / 12));
  const around = clamped([box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach], values);
  const ink = cropped(values, around);
  const near = nearTo(ink, cropped(core, around).values, reach);
  const strokes = cropped(mapped(ink, (value, i) => (near[i] ? value : 0)));
  const pixels = centred(toInkSide(strokes), [SIDE, SIDE], MIN_INK, rounded).values;
  const warnings = [
    ...(length(box, 0) > MAX_ASPECT * length(box, 1) ? [SEVERAL] : []),
    ...(Math.max(strokes.width, strokes.height) < MIN_SIDE ? [TOO_SMALL] : []),
    ...(numLoops(cropped(core)) > MAX_LOOPS ? [MANY_LOOPS] : []),
  ];
  return { pixels: Uint8Array.from(pixels, (value) => rounded(value * 255)), warnings };
}

/** The areas that strokes enclose. */
function numLoops({ width, height, values }: Grid): number {
  if (Math.max(width, height) < LOOPS_SEEN) return 0;
  const outside = new Uint8Array((width + 2) * (height + 2)).fill(1);
  values.forEach((value, i) => (outside[(Math.floor(i / width) + 1) * (width + 2) + (i % width) + 1] = value ? 0 : 1));
  const { areas } = components(outside, width + 2, height + 2, false);
  return areas.filter((area) => area >= MIN_LOOP * values.length).length - 1; // without what is around the digit
}

/** Ink connected to the core and at most `reach` away. */
function nearTo(ink: Grid, core: Float32Array, reach: number): Uint8Array {
  const { width, height } = ink;
  const { labels } = components(Uint8Array.from(ink.values, (value) => (value > 0 ? 1 : 0)), width, height);
  const touched = new Set<number>();
  const close = new Uint8Array(core.length);
  core.forEach((value, i) => {
    if (!value) return;
    touched.add(labels[i]);
    const [x, y] = [i % width, Math.floor(i / width)];
    for (let v = Math.max(0, y - reach); v <= Math.min(height - 1, y + reach); v++) {
      close.fill(1, v * width + Math.max(0, x - reach), v * width + Math.min(width - 1, x + reach) + 1);
    }
  });
  touched.delete(0);
  return close.map((value, i) => (value && touched.has(labels[i]) ? 1 : 0));
}

/** Scaled so that the longer side is 20 pixels; very thin strokes are dilated first, thick ones eroded. */
function toInkSide(image: Grid): Grid {
  let ink = Math.max(image.width, image.height) > 4 * INK_SIDE ? scaledTo(image, 4 * INK_SIDE) : image;
  let unit = Math.max(ink.width, ink.height) / INK_SIDE;
  const top = ink.values.reduce((a, b) => Math.max(a, b));
  const mask = Uint8Array.from(ink.values, (value) => (value > 0.3 * top ? 1 : 0));
  const width = strokeWidth(mask, ink.width, ink.height, true) / unit;
  if (unit > 2 && width < MIN_STROKE) {
    ink = cropped(dilated(mapped(ink, (value) => value / top), ((NORMAL_STROKE - width) / 2) * unit));
  } else if (width > MAX_STROKE && unit >= 0.8) {
    if (unit <= 2) {
      ink = scaledTo(ink, 4 * INK_SIDE);
      unit = Math.max(ink.width, ink.height) / INK_SIDE;
    }
    ink = eroded(ink, Math.min((width - MAX_STROKE) / 2, MAX_EROSION) * unit);
  }
  return scaledTo(ink, INK_SIDE);
}

/** The maximum within a disc, on an image that is larger by the disc on every side. */
function dilated(ink: Grid, radius: number): Grid {
  const reach = Math.ceil(radius);
  const result = grid(ink.width + 2 * reach, ink.height + 2 * reach);
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      if (y * y + x * x > radius * radius + 0.5) continue;
      for (let i = 0; i < ink.values.length; i++) {
        const to = (Math.floor(i / ink.width) + reach + y) * result.width + (i % ink.width) + reach + x;
        result.values[to] = Math.max(result.values[to], ink.values[i]);
      }
    }
  }
  return result;
}

/** The minimum within a disc; unchanged if hardly anything would be left. */
function eroded(ink: Grid, radius: number): Grid {
  const reach = Math.ceil(radius);
  const pad = reach + 1;
  const paper = grid(ink.width + 2 * pad, ink.height + 2 * pad);
  paper.values.fill(1);
  for (let i = 0; i < ink.values.length; i++) {
    paper.values[(Math.floor(i / ink.width) + pad) * paper.width + (i % ink.width) + pad] = 1 - ink.values[i];
  }
  const grown = dilated(paper, radius);
  const thinner = mapped(paper, (_, i) => 1 - grown.values[(Math.floor(i / paper.width) + reach) * grown.width + (i % paper.width) + reach]);
  return thinner.values.some((value) => value > 0.5) ? cropped(thinner) : ink;
}

/** Scaled so that the longer side of the box, without faint ink, is `side`; unless it is at most a tenth smaller. */
function scaledTo(ink: Grid, side: number): Grid {
  const solid = boxOf(ink, MIN_INK);
  const box = Math.max(length(solid, 0), length(solid, 1));
  const longer = Math.max(ink.width, ink.height);
  if (0.9 * side <= box && box <= side && longer <= (side * SIDE) / INK_SIDE) return ink;
  const scale = Math.min(side / box, (side * SIDE) / INK_SIDE / longer);
  return resizeArea(ink, Math.max(1, rounded(ink.height * scale)), Math.max(1, rounded(ink.width * scale)));
}

function boxOf(ink: Grid, above: number): Box {
  const box: Box = [ink.width, ink.height, 0, 0];
  ink.values.forEach((value, i) => {
    if (value <= above) return;
    const [x, y] = [i % ink.width, Math.floor(i / ink.width)];
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x + 1);
    box[3] = Math.max(box[3], y + 1);
  });
  return box;
}

/** The part of an image in a box; by default, in that of its ink. */
function cropped(ink: Grid, [left, top, right, bottom] = boxOf(ink, 0)): Grid {
  const result = grid(right - left, bottom - top);
  for (let y = top; y < bottom; y++) {
    result.values.set(ink.values.subarray(y * ink.width + left, y * ink.width + right), (y - top) * result.width);
  }
  return result;
}

/** Moved by whole pixels until the centre of mass is in the middle, as far as ink above a level stays in the image. */
export function centred(ink: Grid, [high, wide]: Size, above: number, round: (value: number) => number): Grid {
  const [left, top, right, bottom] = boxOf(ink, above);
  let [sum, x, y] = [0, 0, 0];
  ink.values.forEach((value, i) => {
    sum += value;
    x += value * (i % ink.width);
    y += value * Math.floor(i / ink.width);
  });
  const across = Math.min(Math.max(round(wide / 2 - x / sum), -left), wide - right);
  const down = Math.min(Math.max(round(high / 2 - y / sum), -top), high - bottom);
  const result = grid(wide, high);
  ink.values.forEach((value, i) => {
    const [u, v] = [(i % ink.width) + across, Math.floor(i / ink.width) + down];
    if (u >= 0 && v >= 0 && u < wide && v < high) result.values[v * wide + u] = value;
  });
  return result;
}

/** Each digit of a picture in reading order; for a model of other classes, the whole picture. */
export function inputsOfPicture(pixels: Pixels, config: Config): Digit[] {
  if (config.readsDigits) return findDigits(toGrey(pixels));
  return [{ pixels: fitted(pixels, config.imageShape, config.inChannels), warnings: [] }];
}
