// The digits in a picture as MNIST has them, as in clearhead.data.preprocessing.digits: light ink on
// 28 × 28 black pixels, the longer side of the ink 20 pixels, its centre of mass in the middle.

import {
  any, around, boxOf, clamped, cropped, heightOf, hull, label, labelFree, longer, made, mapped, maskOf, near, padded,
  rounded, sideOf, strokeWidth, widthOf, type Box, type Grid,
} from "./arrays";
import { downsample, scaleOf } from "./image";
import { SMALL_SIDE, findInk, type Ink } from "./ink";
import { isPolygon } from "./polygons";
import { SIDE, asInMnist } from "./scaling";
import { cuts, mayBeSeveral } from "./touching";

/** Reasons to doubt that a picture shows one digit. */
export const WARNINGS = [
  "Several digits? Show one at a time.",
  "Very little ink: draw larger.",
  "More loops than a digit has.",
  "A dot above or below: a letter or a punctuation mark?",
  "A single stroke, more slanted or bent than a 1: a slash or a bracket?",
  "A figure with straight sides?",
  "Digits that touch, or a letter?",
];
export const [SEVERAL, TOO_SMALL, MANY_LOOPS, DOTTED, SLASH, POLYGON, TOUCHING] = WARNINGS.keys();

const WORK_SIDE = 128; // of the longer side (up to twice that) when ink is searched
const MIN_SEEN = 48; // of a digit's longer side in that; a smaller one is searched again in a crop
const MIN_SIDE = 6; // of the ink
const MIN_HEIGHT = 0.35; // of the highest digit
const MAX_ASPECT = 2.2; // width of a digit, relative to its height
const [MIN_SEGMENT, MAX_SEGMENT] = [0.6, 1.4]; // height and width of touching digits, relative to all ink
const SEGMENT_SIDE = 64; // of the longer side (up to twice that) of ink that is cut
const MAX_DIGITS = 100; // a picture of more parts is no text of digits
const MAX_PIECES = 4; // of a digit whose strokes are interrupted
const MAX_GAP = 0.8; // in an interrupted stroke, relative to its width
const [MAX_PIECE, MAX_PIECES_ASPECT] = [0.75, 1.1]; // length of its pieces and width, relative to the height
const [MAX_BAR, MAX_BAR_GAP] = [0.5, 0.5]; // width, and gap between two, relative to their height
const [MAX_LOOPS, MIN_LOOP] = [2, 0.008]; // a loop's area relative to the bounding box
const LOOPS_SEEN = 32; // side of the ink; in smaller pictures noise makes loops
const [MIN_DOT, MAX_DOT, MAX_DOT_GAP] = [0.05, 0.4, 0.4]; // relative to the height of the stroke
const MAX_BREADTH = 0.3; // of a single stroke, relative to its length; both as standard deviations
const [MIN_SLANT, MAX_SLANT, MAX_BEND] = [-48, 32, 0.17]; // of a 1, by nearly all writers

export interface Digit {
  pixels: Uint8Array; // the model input, 0 to 255
  box: Box; // of the ink, in pixels of the picture
  warnings: number[]; // places in WARNINGS
  found: boolean; // whether there is any ink
  parts: Digit[]; // the digits in reading order, if there seem to be several
  segments: Segment[]; // if this may be several digits that touch
}

/** What is between two cuts, with the numbers of both; 0 is the left end, and the largest number the right end. */
export interface Segment {
  first: number;
  stop: number;
  digit: Digit;
}

/** The components of one digit. */
interface Group {
  mask: Grid;
  box: Box;
}

const BLANK: Digit = { pixels: new Uint8Array(SIDE * SIDE), box: [0, 0, 0, 0], warnings: [], found: false, parts: [], segments: [] };

/** All that a picture may show: one digit, and several; together as one, these are blank if they are too many or too wide. */
export function digitAndParts(grey: Grid): Digit {
  const ink = findInk(downsample(grey, WORK_SIDE));
  if (!ink) return BLANK;
  const groups = groupsOf(ink);
  const isSmall = longer(grey) <= SMALL_SIDE; // a scan
  const whole = groupOf(ink, [...ink.boxes.keys()]);
  const withSegments = (group: Group, digit: Digit): Digit => ({ ...digit, segments: isSmall ? [] : segmentsOf(ink.values, group, scaleOf(grey, WORK_SIDE)) });
  if (groups.length === 1) return withSegments(groups[0], cutOut(grey, ink, isSmall ? whole : groups[0]));
  if (groups.length > MAX_DIGITS) {
    const digit = cutOut(grey, ink, groups[0]);
    return { ...digit, warnings: [...new Set([...digit.warnings, SEVERAL])] };
  }
  const parts = inReadingOrder(groups.map((group) => withSegments(group, cutOut(grey, ink, group))));
  const together = { mask: maskOf(ink.parts, (_, i) => groups.some(({ mask }) => mask.values[i])), box: hull(groups.map(({ box }) => box)) };
  return { ...(groups.length <= MAX_PIECES && !isWide(together.box) ? cutOut(grey, ink, together) : BLANK), parts };
}

function groupOf({ parts, boxes }: Ink, numbers: number[]): Group {
  const chosen = new Set(numbers);
  return { mask: maskOf(parts, (number) => chosen.has(number)), box: hull(numbers.map((number) => boxes.get(number)!)) };
}

/** The parts between two cuts that may be digits, not all of the ink. */
function segmentsOf(ink: Grid, { mask, box }: Group, factor: number): Segment[] {
  const core = cropped(mask, box);
  if (!mayBeSeveral(core.width, core.height)) return [];
  const close = near(core, 2).values;
  const full = mapped(cropped(ink, box), (value, i) => (close[i] ? value : 0));
  const scale = factor * scaleOf(full, SEGMENT_SIDE);
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
      segments.push({ first, stop, digit: { ...BLANK, pixels: asInMnist(cropped(part)), box: place, found: true } });
    }),
  );
  return segments;
}

/** One of the digits that were found. */
function cutOut(grey: Grid, ink: Ink, group: Group): Digit {
  const digit = measured(grey, ink, group);
  if (longer(grey) <= SMALL_SIDE) return digit; // too coarse for the following
  const remarks: [number, boolean][] = [
    [DOTTED, hasDot(ink, group)],
    [SLASH, isSlash(digit.pixels)],
    [POLYGON, isPolygon(cropped(group.mask, group.box))],
  ];
  return { ...digit, warnings: [...digit.warnings, ...remarks.filter(([, isTrue]) => isTrue).map(([warning]) => warning)] };
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
function hasDot({ boxes, parts }: Ink, { mask }: Group): boolean {
  if (boxes.size === 1) return false;
  const numbers = new Set(parts.values.filter((_, i) => mask.values[i]));
  const own = [...boxes].filter(([number]) => numbers.has(number)).map(([, box]) => box);
  const [left, top, right, bottom] = own.reduce((a, b) => (heightOf(b) > heightOf(a) ? b : a));
  const high = bottom - top;
  return [...boxes.values()].some((box) => {
    const [small, large] = [Math.min(widthOf(box), heightOf(box)), sideOf(box)];
    const gap = Math.max(box[1] - bottom, top - box[3]);
    const middle = (box[0] + box[2]) / 2;
    const isRound = MIN_DOT * high < large && large < Math.min(MAX_DOT * high, 2 * small);
    return left <= middle && middle <= right && isRound && gap > 0 && gap < MAX_DOT_GAP * high;
  });
}

/** The ink of a digit; if it is small, from a crop of the picture around it. */
function measured(grey: Grid, ink: Ink, { mask, box }: Group): Digit {
  const factor = scaleOf(grey, WORK_SIDE);
  const reach = sideOf(box);
  if (factor === 1 || reach > MIN_SEEN) return digitOf(ink.values, mask, [0, 0], factor);
  const window = clamped(around(box, 0.4 * reach).map((at) => rounded(at * factor)) as Box, grey);
  const crop = cropped(grey, window);
  const [left, top] = window;
  const closer = findInk(downsample(crop, WORK_SIDE / 2), ink.dark);
  if (closer) {
    // What was found nearby belongs to the digit only if it was found in the whole picture, too.
    const scale = scaleOf(crop, WORK_SIDE / 2);
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
  const remarks: [number, boolean][] = [
    [TOO_SMALL, longer(inside) < MIN_SIDE],
    [SEVERAL, isWide(place)],
    [MANY_LOOPS, numLoops(cropped(core, box)) > MAX_LOOPS],
  ];
  return { ...BLANK, pixels: asInMnist(inside), box: place, found: true, warnings: remarks.filter(([, isTrue]) => isTrue).map(([warning]) => warning) };
}

/** The strokes with their soft edges: connected ink at most a twelfth of the digit away. */
function strokes(ink: Grid, core: Grid, reach: number): Grid {
  const { labels } = label(maskOf(ink, (value) => value > 0));
  const touched = new Set(labels.values.filter((number, i) => number && core.values[i]));
  const close = near(core, reach).values;
  return maskOf(labels, (number, i) => close[i] && touched.has(number));
}

/** The areas that strokes enclose. */
function numLoops(core: Grid): number {
  if (longer(core) < LOOPS_SEEN) return 0;
  return labelFree(core).areas.filter((area) => area > 0 && area >= MIN_LOOP * core.values.length).length - 1; // without the outside
}

/** Whether two digits may touch. */
function isWide(box: Box): boolean {
  return widthOf(box) > MAX_ASPECT * heightOf(box);
}

/** The components of each digit, the largest first; dots, commas and minus signs left out. */
function groupsOf(ink: Ink): Group[] {
  const pieces = interrupted(ink).map((numbers) => ({ numbers, box: hull(numbers.map((number) => ink.boxes.get(number)!)) }));
  const groups: (typeof pieces)[] = [];
  for (const piece of pieces.sort((a, b) => sideOf(b.box) - sideOf(a.box))) {
    const group = groups.find((one) => one.some((other) => belongTogether(piece.box, other.box)));
    if (group) group.push(piece);
    else groups.push([piece]);
  }
  const found = groups.map((group) => groupOf(ink, group.flatMap(({ numbers }) => numbers)));
  const tallest = Math.max(...found.map(({ box }) => heightOf(box)));
  return found.filter(({ box }) => heightOf(box) >= MIN_HEIGHT * tallest);
}

/**
 * The pieces of each stroke that is interrupted, as in displays, stencils and dot matrices: the gaps are narrower than
 * the strokes, and each piece is shorter than a digit.
 */
function interrupted(ink: Ink): number[][] {
  const { parts, boxes } = ink;
  if (boxes.size < 2) return [[...boxes.keys()]];
  const mask = maskOf(parts, Boolean);
  const width = strokeWidth(padded(mask, 1));
  const joined = label(near(mask, Math.max(1, rounded((MAX_GAP * width) / 2)))).labels;
  const labelOf = new Map<number, number>();
  parts.values.forEach((number, i) => number && labelOf.set(number, joined.values[i]));
  for (const [upper, lower] of stackedBars(ink)) {
    const [one, other] = [labelOf.get(upper)!, labelOf.get(lower)!];
    for (const [number, its] of labelOf) if (its === other) labelOf.set(number, one);
  }
  const numbers = [...boxes.keys()];
  const sets = [...new Set(numbers.map((number) => labelOf.get(number)))].map((its) => numbers.filter((number) => labelOf.get(number) === its));
  return sets.flatMap((set) => {
    const all = set.map((number) => boxes.get(number)!);
    const box = hull(all);
    const isOne = Math.max(...all.map(sideOf)) <= MAX_PIECE * heightOf(box) && widthOf(box) <= MAX_PIECES_ASPECT * heightOf(box);
    return isOne ? [set] : set.map((number) => [number]);
  });
}

/** Upright bars of one length, one above the other, if nothing as high is a digit. */
function stackedBars({ boxes }: Ink): [number, number][] {
  const isBar = (box: Box): boolean => widthOf(box) <= MAX_BAR * heightOf(box);
  const isAlike = (box: Box, high: number): boolean => 0.8 * high <= heightOf(box) && heightOf(box) <= 1.25 * high;
  const bars = [...boxes].filter(([, box]) => isBar(box));
  return bars.flatMap(([upper, above]) =>
    bars
      .filter(([lower, below]) => {
        const high = heightOf(above);
        const gap = below[1] - above[3];
        const isAbove = Math.abs(above[0] - below[0]) <= widthOf(above) + 0.25 * high;
        return lower !== upper && isAbove && isAlike(below, high) && gap >= 0 && gap <= MAX_BAR_GAP * high && ![...boxes.values()].some((box) => isAlike(box, high) && !isBar(box));
      })
      .map(([lower]): [number, number] => [upper, lower]),
  );
}

/** Whether two components are strokes of one digit: near each other, or pieces of a broken stroke. */
export function belongTogether(part: Box, other: Box): boolean {
  const larger = Math.max(sideOf(part), sideOf(other));
  const gapX = Math.max(part[0] - other[2], other[0] - part[2]);
  const gapY = Math.max(part[1] - other[3], other[1] - part[3]);
  if (Math.max(gapX, gapY) < 0) return true;
  const heights = [heightOf(part), heightOf(other)];
  if (Math.min(sideOf(part), sideOf(other)) < 0.6 * larger) {
    const isBar = 2 * heights[0] < widthOf(part);
    const isHigh = part[3] < other[1] + 0.3 * heights[1];
    return Math.max(gapX, gapY) < (isBar && isHigh ? 0.25 : 0.15) * larger;
  }
  if (gapY < 0 && Math.min(...heights) < 0.8 * Math.max(...heights) && gapX < 0.08 * larger) return true;
  const both = hull([part, other]);
  const isStacked = gapX < -0.5 * Math.min(widthOf(part), widthOf(other));
  return isStacked && gapY < 0.08 * larger && (widthOf(both) < 0.4 * larger || heightOf(both) < 2 * widthOf(both));
}

/** Lines from top to bottom, in a line from left to right. */
function inReadingOrder(digits: Digit[]): Digit[] {
  const lines: Digit[][] = [];
  for (const digit of [...digits].sort((a, b) => a.box[1] + a.box[3] - b.box[1] - b.box[3])) {
    const middle = (digit.box[1] + digit.box[3]) / 2;
    const line = lines[lines.length - 1];
    if (line?.some(({ box }) => box[1] <= middle && middle <= box[3])) line.push(digit);
    else lines.push([digit]);
  }
  return lines.flatMap((line) => line.sort((a, b) => a.box[0] - b.box[0]));
}
