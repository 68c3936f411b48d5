// Which components of the ink are one digit, and the order of digits, as in clearhead.data.preprocessing.groups.

import type { Ink } from "./ink";
import { heightOf, hull, label, maskOf, near, padded, rounded, sideOf, strokeWidth, widthOf, type Box, type Grid } from "./pixels";

const MIN_HEIGHT = 0.35; // of the highest digit
export const MAX_PIECES = 4; // of a digit whose strokes are interrupted
const MIN_OVERLAP = 0.5; // of two digits in a line
const MAX_GAP = 0.8; // in an interrupted stroke, relative to its width
const [MAX_PIECE, MAX_PIECES_ASPECT] = [0.75, 1.1]; // length of its pieces and width, relative to the height
const [MAX_BAR, MAX_BAR_GAP] = [0.5, 0.5]; // width, and gap between two, relative to their height

/** The components of one digit. */
export interface Group {
  mask: Grid;
  box: Box;
}

export function groupOf({ parts, boxes }: Ink, numbers: number[]): Group {
  const chosen = new Set(numbers);
  return { mask: maskOf(parts, (number) => chosen.has(number)), box: hull(numbers.map((number) => boxes.get(number)!)) };
}

/** The components of each digit, the largest first; dots, commas and minus signs left out. */
export function groupsOf(ink: Ink): Group[] {
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

/** Whether the heights of two digits overlap by more than half of the smaller one. */
export function areInLine(box: Box, other: Box): boolean {
  return Math.min(box[3], other[3]) - Math.max(box[1], other[1]) > MIN_OVERLAP * Math.min(heightOf(box), heightOf(other));
}

/** Lines from top to bottom, and each line from left to right. */
export function inReadingOrder<T extends { box: Box }>(digits: T[]): T[] {
  const lines: T[][] = [];
  for (const digit of [...digits].sort((a, b) => a.box[1] + a.box[3] - b.box[1] - b.box[3])) {
    const line = lines[lines.length - 1];
    if (line?.some(({ box }) => areInLine(digit.box, box))) line.push(digit);
    else lines.push([digit]);
  }
  return lines.flatMap((line) => line.sort((a, b) => a.box[0] - b.box[0]));
}
