// Which components of a mask are ink of digits, as in clearhead.data.preprocessing.components: not neighbours, edges
// or remains of a frame.

import { around, cropped, heightOf, hull, longer, maskOf, median, near, rounded, sideOf, sum, type Box, type Components, type Grid } from "./pixels";

const MIN_LENGTH = 0.025; // of a component that shows that the digit does not touch the border
const MIN_WIDTH = 0.012; // of strokes; narrower ones at the border are remains of a desk's edge
const MAX_ALONG_EDGE = 0.8; // share of a stroke that may be where desk and paper meet
const MIN_BESIDE_EDGE = 0.2; // length of strokes, relative to such an edge
export const MIN_SCAN = 16; // smaller images have no frame
const MIN_CROPPED = 0.6; // height of cropped digits relative to others
const MAX_CROP_MARGIN = 0.04; // from the ink of a tight crop to each side, relative to it
const BORDER = 0.12; // of each side, where the remains of a frame may be
const MIN_FRAMED = 0.45; // height of a digit in a ring or a drawn box; in a zero, a slash is lower
const MAX_PARTS = 40;

/** The components without specks and, if others are as long, without those at the border, where a neighbour or a desk is. */
export function keptParts({ labels, boxes, areas }: Components, mask: Grid, grey: Grid, outside: Grid, isFree: boolean): number[] {
  const { width, height } = mask;
  const size = longer(mask);
  const numbers = boxes.map((_, number) => number).slice(1);
  if (!isFree && size >= MIN_SCAN && isAtBorder(mask)) return [];
  if (numbers.length <= (isFree ? 0 : 1)) return numbers;
  const lengths = boxes.map(sideOf);
  const longest = (chosen: number[]): number => Math.max(0, ...chosen.map((number) => lengths[number]));
  const within = numbers.filter((number) => boxes[number][0] > 0 && boxes[number][1] > 0 && boxes[number][2] < width && boxes[number][3] < height);
  const cropped = tightlyCropped(boxes, within, mask);
  let free = numbers.filter((number) => within.includes(number) || cropped.has(number));
  let candidates = free;
  if (isFree) {
    const limit = 0.3 * longest(free);
    free = free.filter(
      (number) => !within.includes(number) || (areas[number] >= 4 && (lengths[number] <= limit || !isCut(labels, number, boxes[number], grey))),
    );
    const [on, off] = [near(outside, 1).values, near(maskOf(outside, (value) => !value), 1).values];
    const [beside, alongEdge] = [areas.map(() => 0), areas.map(() => 0)];
    labels.values.forEach((number, i) => {
      beside[number] += outside.values[i];
      alongEdge[number] += on[i] * off[i]; // where desk and paper meet
    });
    const onDesk = (number: number): boolean => beside[number] > 0.5 * areas[number];
    const onPaper = free.filter((number) => !onDesk(number));
    if (longest(onPaper) >= MIN_LENGTH * size) free = onPaper;
    const most = longest(free);
    free = free.filter((number) => alongEdge[number] <= MAX_ALONG_EDGE * areas[number]);
    const solid = numbers.filter((number) => areas[number] > MIN_WIDTH * size * lengths[number] && !onDesk(number));
    if (longest(free) < MIN_BESIDE_EDGE * most || most < MIN_LENGTH * size || most < 0.4 * longest(solid)) return [];
    candidates = free;
  } else if (longest(free) < 0.4 * longest(numbers)) candidates = numbers;
  const limit = 0.01 * Math.max(...candidates.map((number) => areas[number]));
  let kept = candidates.filter((number) => areas[number] >= limit);
  if (isFree) kept = kept.filter((frame) => !kept.some((part) => isAround(labels, boxes, frame, part)));
  return kept.length > (isFree ? MAX_PARTS : MAX_PARTS / 4) ? [] : kept;
}

/** Whether a component is on all four sides of one that is nearly half as high or more, as a ring or a drawn box. */
function isAround({ width, height, values }: Grid, boxes: Box[], frame: number, part: number): boolean {
  const [high, whole] = [heightOf(boxes[part]), heightOf(boxes[frame])];
  if (high < MIN_FRAMED * whole || high >= whole) return false;
  const [left, top, right, bottom] = boxes[part];
  const [x, y] = [Math.floor((left + right) / 2), Math.floor((top + bottom) / 2)];
  const across = values.subarray(y * width, (y + 1) * width);
  const down = Float32Array.from({ length: height }, (_, row) => values[row * width + x]);
  return [across.subarray(0, x), across.subarray(x), down.subarray(0, y), down.subarray(y)].every((line) => line.includes(frame));
}

/**
 * Which components are digits of a tightly cropped text, if other components touch no border. Those at the border are as
 * high as the others, and the ink reaches two opposite sides of a single line of text, or all four sides.
 */
function tightlyCropped(boxes: Box[], free: number[], { width, height }: Grid): Set<number> {
  const tallest = Math.max(0, ...free.map((number) => heightOf(boxes[number])));
  const isLine = width > height && tallest >= MIN_CROPPED * height;
  const digits = boxes.flatMap((box, number) => {
    const high = heightOf(box);
    const isAlike = number > 0 && high >= MIN_CROPPED * tallest && MIN_CROPPED * high <= tallest;
    return isAlike && (isLine || high <= MIN_CROPPED * height) ? [number] : []; // of several lines, each is lower than the remains of a frame
  });
  const [left, top, right, bottom] = digits.length ? hull(digits.map((number) => boxes[number])) : [width, height, 0, 0];
  const [across, down] = [MAX_CROP_MARGIN * width, MAX_CROP_MARGIN * height];
  const isTight = left <= across && top <= down && right >= width - across && bottom >= height - down;
  return new Set(isLine || isTight ? digits : []);
}

/** Whether nearly all ink is at the border, as the remains of a frame. */
function isAtBorder(mask: Grid): boolean {
  const [x, y] = [rounded(mask.width * BORDER), rounded(mask.height * BORDER)];
  return sum(cropped(mask, [x, y, mask.width - x, mask.height - y]).values) < 0.15 * sum(mask.values);
}

/** Whether a component continues, as dark, beyond the edge that the background gives it. */
function isCut(labels: Grid, number: number, box: Box, grey: Grid): boolean {
  const window = around(box, 3);
  const nearby = cropped(labels, window);
  const part = maskOf(nearby, (one) => one === number);
  const [far, close] = [near(part, 3).values, near(part, 2).values];
  const { values } = cropped(grey, window);
  const ring = values.filter((_, i) => far[i] && !close[i] && !nearby.values[i]);
  if (!ring.length) return false;
  const level = median(values.filter((_, i) => part.values[i]));
  const limit = Math.fround(level + 0.3 * (median(ring) - level));
  return ring.filter((value) => value < limit).length > 0.08 * ring.length;
}
