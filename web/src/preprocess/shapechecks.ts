// Checks of the shape of ink: reasons to doubt that it is a digit, as in clearhead.data.preprocessing.shape_checks.

import type { Group } from "./groups";
import type { Ink } from "./ink";
import { boxOf, heightOf, labelFree, leastSquares, longer, maskOf, residual, sideOf, widthOf, type Grid } from "./pixels";
import { SIDE } from "./scaling";

export const [MAX_LOOPS, MIN_LOOP] = [2, 0.008]; // a loop's area relative to the bounding box
const LOOPS_SEEN = 32; // side of the ink; in smaller pictures noise makes loops
const [MIN_DOT, MAX_DOT, MAX_DOT_GAP] = [0.05, 0.4, 0.4]; // relative to the height of the stroke
const MAX_BREADTH = 0.3; // of a single stroke, relative to its length; both as standard deviations
const [MIN_SLANT, MAX_SLANT, MAX_BEND] = [-48, 32, 0.17]; // of a 1, by nearly all writers
const [MIN_BRACKET_BEND, MAX_BRACKET_SLANT] = [0.08, 8]; // the second in degrees
const [MAX_DEVIATION, MAX_BENT_DEVIATION, MAX_UNEVENNESS] = [0.06, 0.12, 0.05]; // of strokes that are printed or drawn with a ruler
const [MAX_RULED_BREADTH, MAX_RULED_SLANT, MAX_RULED_HEIGHT] = [0.22, 14, 0.25]; // limits of such a stroke for a 1; of slant and height, beyond those of digits beside it
const [MIN_ROW, MIN_ROWS] = [0.25, 10]; // ink of a row that counts, in pixels; such rows of a stroke
const MAX_POLYGON_MARGIN = 0.2; // from a polygon's inside to each end of the ink, relative to the ink
const DIRECTIONS = 16;
const MIN_SHARE = [[4, 0.9], [5, 0.955]]; // area of the largest polygon with so many corners in a loop, relative to the loop's convex hull

/**
 * Whether ink is a single stroke too slanted, bent or straight to be a handwritten 1. `usualSlant` is the median slant
 * of the digits beside it in degrees, `relativeHeight` its height over the median of theirs.
 */
export function isSlash(pixels: Uint8Array, usualSlant = 0, relativeHeight = 1): boolean {
  const { left, top, mean, across, down, both } = moments(pixels);
  const spread = Math.hypot(across - down, 2 * both);
  const largest = (across + down + spread) / 2;
  const breadth = Math.sqrt(Math.max(0, (across + down - spread) / 2) / largest);
  if (breadth >= MAX_BREADTH) return false;
  const slant = Math.atan2(2 * both, down - across) / 2; // from the vertical
  const [sin, cos] = [Math.sin(slant), Math.cos(slant)];
  const bend = Math.abs(mean((x, y) => ((x - left) * cos - (y - top) * sin) * ((x - left) * sin + (y - top) * cos) ** 2)) / largest ** 1.5;
  const degrees = (slant * 180) / Math.PI;
  if (bend > MAX_BEND || degrees <= MIN_SLANT || degrees >= MAX_SLANT) return true;
  if (bend > MIN_BRACKET_BEND && Math.abs(degrees) < MAX_BRACKET_SLANT) return deviation(pixels, 2)[0] < MAX_BENT_DEVIATION;
  const [fromLine, unevenness] = deviation(pixels, 1);
  const isRuled = fromLine < MAX_DEVIATION && unevenness < MAX_UNEVENNESS;
  const excess = Math.abs(degrees - usualSlant) / MAX_RULED_SLANT + Math.max(0, relativeHeight - 1) / MAX_RULED_HEIGHT;
  return isRuled && (excess > 1 || breadth > MAX_RULED_BREADTH);
}

/** The slant of ink in degrees from the vertical, by regression of its columns on its rows. */
export function slantOf(pixels: Uint8Array): number {
  const { down, both } = moments(pixels);
  return (Math.atan2(both, down) * 180) / Math.PI;
}

/** The centre of the ink, variances and covariance, and the mean of any function. */
function moments(pixels: Uint8Array): { left: number; top: number; across: number; down: number; both: number; mean: (of: (x: number, y: number) => number) => number } {
  const mass = pixels.reduce((sum, value) => sum + value, 0);
  const mean = (of: (x: number, y: number) => number): number =>
    pixels.reduce((sum, value, i) => (value ? sum + value * of(i % SIDE, Math.floor(i / SIDE)) : sum), 0) / mass;
  const [left, top] = [mean((x) => x), mean((_, y) => y)];
  const [across, down] = [mean((x) => (x - left) ** 2), mean((_, y) => (y - top) ** 2)];
  return { left, top, across, down, both: mean((x, y) => (x - left) * (y - top)), mean };
}

/** Deviation of the rows' middles from a line or parabola; and of their ink, over its mean. */
function deviation(pixels: Uint8Array, degree: 1 | 2): [number, number] {
  const ink = Array.from({ length: SIDE }, (_, y) => pixels.subarray(y * SIDE, (y + 1) * SIDE).reduce((sum, value) => sum + value, 0) / 255);
  const rows = ink.map((_, y) => y).filter((y) => ink[y] > MIN_ROW).slice(1, -1);
  if (rows.length < MIN_ROWS) return [Infinity, Infinity];
  const points = rows.map((y) => {
    const middle = pixels.subarray(y * SIDE, (y + 1) * SIDE).reduce((sum, value, x) => sum + value * x, 0) / (255 * ink[y]);
    return [middle, ...[1, y, y * y].slice(0, degree + 1)];
  });
  const factors = leastSquares(points);
  const rms = (errors: number[]): number => Math.sqrt(errors.reduce((sum, error) => sum + error ** 2, 0) / errors.length);
  const mean = rows.reduce((sum, y) => sum + ink[y], 0) / rows.length;
  return [rms(points.map((point) => residual(point, factors))), rms(rows.map((y) => ink[y] - mean)) / mean];
}

/** Whether a round component is above or below the highest stroke, as in i, ! and ?. */
export function hasDot({ boxes, parts }: Ink, { mask }: Group): boolean {
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

/** The number of areas that strokes enclose. */
export function numLoops(core: Grid): number {
  if (longer(core) < LOOPS_SEEN) return 0;
  return labelFree(core).areas.filter((area) => area > 0 && area >= MIN_LOOP * core.values.length).length - 1; // without the outside
}

/** Whether ink, cut to its bounding box, is the outline of a polygon. */
export function isPolygon(core: Grid): boolean {
  const { labels, areas } = labelFree(core);
  const largest = areas.indexOf(Math.max(...areas.slice(2)), 2);
  if (largest < 0) return false;
  const inside = maskOf(labels, (number) => number === largest);
  const box = boxOf(inside); // in a frame of one pixel
  const [across, down] = [MAX_POLYGON_MARGIN * core.width, MAX_POLYGON_MARGIN * core.height];
  const isWhole = box[0] - 1 <= across && box[1] - 1 <= down && core.width + 1 - box[2] <= across && core.height + 1 - box[3] <= down;
  if (!isWhole) return false;
  const points: Point[] = [];
  inside.values.forEach((value, i) => value && points.push([i % inside.width, Math.floor(i / inside.width)]));
  const extreme = Array.from({ length: DIRECTIONS }, (_, n) => {
    const [cos, sin] = [Math.cos((2 * Math.PI * n) / DIRECTIONS), Math.sin((2 * Math.PI * n) / DIRECTIONS)];
    return points.reduce((a, b) => (b[0] * cos + b[1] * sin > a[0] * cos + a[1] * sin ? b : a));
  });
  return MIN_SHARE.some(([count, share]) => Math.max(...choices(extreme, count).map(areaOf)) >= share * areaOf(extreme));
}

type Point = [number, number];

function choices(points: Point[], count: number): Point[][] {
  if (count === 0) return [[]];
  return points.flatMap((point, n) => choices(points.slice(n + 1), count - 1).map((rest) => [point, ...rest]));
}

/** The area of a polygon, by the shoelace formula. */
function areaOf(corners: Point[]): number {
  return Math.abs(corners.reduce((all, [x, y], n) => all + x * corners[(n + 1) % corners.length][1] - y * corners[(n + 1) % corners.length][0], 0)) / 2;
}
