// The digits in a picture as MNIST has them, as in clearhead.data.preprocessing.digits: light ink on
// 28 × 28 black pixels, the longer side of the ink 20 pixels, its centre of mass in the middle.

import { MAX_PIECES, areInLine, groupOf, groupsOf, inReadingOrder, type Group } from "./groups";
import { SMALL_SIDE, findInk, type Ink } from "./ink";
import {
  any, around, boxOf, clamped, cropped, downsample, heightOf, hull, label, longer, made, mapped, maskOf, median, near, reduction,
  rounded, sideOf, widthOf, type Box, type Grid,
} from "./pixels";
import { MAX_LOOPS, hasDot, isPolygon, isSlash, numLoops, slantOf } from "./shapechecks";
import { SIDE, asInMnist } from "./scaling";
import { cuts, mayBeSeveral } from "./touching";

/** Reasons to doubt that a picture shows one digit. */
export const WARNINGS = [
  "Several digits? Show one at a time.",
  "Very little ink: draw larger.",
  "More loops than a digit has.",
  "A dot above or below: a letter or a punctuation mark?",
  "A stroke that few writers draw as a 1: a slash, a bracket or a bar?",
  "A figure with straight sides?",
  "Digits that touch, or a letter?",
  "Too few pixels to estimate the certainty.",
];
export const [SEVERAL, TOO_SMALL, MANY_LOOPS, DOTTED, SLASH, POLYGON, TOUCHING, COARSE] = WARNINGS.keys();

const WORK_SIDE = 128; // of the longer side (up to twice that) when ink is searched
const MIN_SEEN = 48; // of a digit's longer side in that; a smaller one is searched again in a crop
const MIN_SIDE = 6; // of the ink
const MAX_ASPECT = 2.2; // width of a digit, relative to its height
const [MIN_SEGMENT, MAX_SEGMENT] = [0.6, 1.4]; // height and width of touching digits, relative to all ink
const SEGMENT_SIDE = 64; // of the longer side (up to twice that) of ink that is cut

export interface Digit {
  pixels: Uint8Array; // the model input, 0 to 255
  box: Box; // of the ink, in pixels of the picture
  warnings: number[]; // places in WARNINGS
  found: boolean; // whether there is any ink
  parts: Digit[]; // the digits in reading order, if there seem to be several
  segments: Segment[]; // if this may be several digits that touch
}

/** What is between two cuts, with the numbers of both; 0 is the left end, and the largest number the right end. */
interface Segment {
  first: number;
  stop: number;
  digit: Digit;
}

const BLANK: Digit = { pixels: new Uint8Array(SIDE * SIDE), box: [0, 0, 0, 0], warnings: [], found: false, parts: [], segments: [] };

/** All that a picture may show: one digit, and several; together as one, these are blank if they are too many or too wide. */
export function digitAndParts(grey: Grid): Digit {
  const ink = findInk(downsample(grey, WORK_SIDE));
  if (!ink) return BLANK;
  const groups = groupsOf(ink);
  const isSmall = longer(grey) <= SMALL_SIDE; // a scan
  const whole = groupOf(ink, [...ink.boxes.keys()]);
  const withSegments = (group: Group, digit: Digit): Digit => ({ ...digit, segments: isSmall ? [] : segmentsOf(ink.values, group, reduction(grey, WORK_SIDE)) });
  if (groups.length === 1) return withSegments(groups[0], cutOut(grey, ink, isSmall ? whole : groups[0]));
  const found = inReadingOrder(groups.map((group) => withSegments(group, cutOut(grey, ink, group, false))));
  const parts = isSmall ? found : found.map((part) => comparedWithLine(part, found));
  const together = { mask: maskOf(ink.parts, (_, i) => groups.some(({ mask }) => mask.values[i])), box: hull(groups.map(({ box }) => box)) };
  return { ...(groups.length <= MAX_PIECES && !isWide(together.box) ? cutOut(grey, ink, together) : BLANK), parts };
}

/** The parts between two cuts that may be digits, not all of the ink. */
function segmentsOf(ink: Grid, { mask, box }: Group, factor: number): Segment[] {
  const core = cropped(mask, box);
  if (!mayBeSeveral(core.width, core.height)) return [];
  const close = near(core, 2).values;
  const full = mapped(cropped(ink, box), (value, i) => (close[i] ? value : 0));
  const scale = factor * reduction(full, SEGMENT_SIDE);
  const values = downsample(full, SEGMENT_SIDE);
  const { width, height } = values;
  const found = cuts(values);
  const ends = [Array(height).fill(0), ...found, Array(height).fill(width)];
  const segments: Segment[] = [];
  ends.forEach((left, first) =>
    ends.forEach((right, stop) => {
      const isAtEnd = first === 0 || stop === found.length + 1;
      if (stop <= first || found.length < stop - first || !(isAtEnd || width > 1.3 * height)) return;
      const part = made(width, height, (x, y) => (x >= left[y] && x < right[y] ? values.values[y * width + x] : 0));
      const solid = boxOf(part, 0.5);
      if (widthOf(solid) <= 0 || heightOf(solid) < MIN_SEGMENT * height || widthOf(solid) > MAX_SEGMENT * height) return;
      const place = solid.map((at, n) => scale * at + factor * box[n % 2]) as Box;
      const pixels = asInMnist(cropped(part));
      segments.push({ first, stop, digit: { ...BLANK, pixels, box: place, found: true, warnings: isSlash(pixels) ? [SLASH] : [] } });
    }),
  );
  return segments;
}

/** A part; with a warning if it is a slash or a bar, compared with the digits of its line. */
function comparedWithLine(part: Digit, parts: Digit[]): Digit {
  const line = parts.filter((other) => other !== part && areInLine(other.box, part.box));
  const usualSlant = line.length ? median(line.map(({ pixels }) => slantOf(pixels))) : 0;
  const relativeHeight = line.length ? heightOf(part.box) / median(line.map(({ box }) => heightOf(box))) : 1;
  return isSlash(part.pixels, usualSlant, relativeHeight) ? { ...part, warnings: [...part.warnings, SLASH] } : part;
}

/** One digit with its warnings; `comparedWithLine` adds that for slashes unless `isAlone`. */
function cutOut(grey: Grid, ink: Ink, group: Group, isAlone = true): Digit {
  const digit = measured(grey, ink, group);
  if (longer(grey) <= SMALL_SIDE) return digit; // too coarse for the following
  const checks: [number, boolean][] = [
    [DOTTED, hasDot(ink, group)],
    [SLASH, isAlone && isSlash(digit.pixels)],
    [POLYGON, isPolygon(cropped(group.mask, group.box))],
  ];
  return { ...digit, warnings: [...digit.warnings, ...checks.filter(([, isTrue]) => isTrue).map(([warning]) => warning)] };
}

/** The ink of a digit; if it is small, from a crop of the picture around it. */
function measured(grey: Grid, ink: Ink, { mask, box }: Group): Digit {
  const factor = reduction(grey, WORK_SIDE);
  const reach = sideOf(box);
  if (factor === 1 || reach > MIN_SEEN) return digitOf(ink.values, mask, [0, 0], factor);
  const window = clamped(around(box, 0.4 * reach).map((at) => rounded(at * factor)) as Box, grey);
  const crop = cropped(grey, window);
  const [left, top] = window;
  const closer = findInk(downsample(crop, WORK_SIDE / 2), ink.dark);
  if (closer) {
    // What was found nearby belongs to the digit only if it was found in the whole picture, too.
    const scale = reduction(crop, WORK_SIDE / 2);
    const wider = near(mask, 1);
    const core = made(closer.parts.width, closer.parts.height, (x, y) => {
      const u = Math.min(Math.floor((x * scale + left) / factor), mask.width - 1);
      const v = Math.min(Math.floor((y * scale + top) / factor), mask.height - 1);
      return closer.parts.values[y * closer.parts.width + x] && wider.values[v * mask.width + u] ? 1 : 0;
    });
    if (any(core)) return digitOf(closer.values, core, [left, top], scale);
  }
  return digitOf(ink.values, mask, [0, 0], factor);
}

/** The digit with these components; `corner` (left, top) and `scale` give its place. */
function digitOf(ink: Grid, core: Grid, corner: [number, number], scale: number): Digit {
  const box = boxOf(core);
  const reach = Math.max(3, rounded(sideOf(box) / 12));
  const window = around(box, reach);
  const seen = cropped(ink, window);
  const isStroke = strokes(seen, cropped(core, window), reach);
  const inside = cropped(mapped(seen, (value, i) => (isStroke.values[i] ? value : 0)));
  const place = box.map((at, n) => scale * at + corner[n % 2]) as Box;
  const checks: [number, boolean][] = [
    [TOO_SMALL, longer(inside) < MIN_SIDE],
    [SEVERAL, isWide(place)],
    [MANY_LOOPS, numLoops(cropped(core, box)) > MAX_LOOPS],
  ];
  return { ...BLANK, pixels: asInMnist(inside), box: place, found: true, warnings: checks.filter(([, isTrue]) => isTrue).map(([warning]) => warning) };
}

/** The strokes with their soft edges: connected ink at most a twelfth of the digit away. */
function strokes(ink: Grid, core: Grid, reach: number): Grid {
  const { labels } = label(maskOf(ink, (value) => value > 0));
  const touched = new Set(labels.values.filter((number, i) => number && core.values[i]));
  const close = near(core, reach).values;
  return maskOf(labels, (number, i) => close[i] && touched.has(number));
}

/** Whether two digits may touch. */
function isWide(box: Box): boolean {
  return widthOf(box) > MAX_ASPECT * heightOf(box);
}
