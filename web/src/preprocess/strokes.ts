// Strokes: polylines on a canvas of 280 × 280 units, and the digits that they form.

import { around, heightOf, sideOf, type Box } from "./pixels";
import { belongTogether } from "./groups";

export type Point = [number, number];
export type Stroke = Point[];

export const CANVAS = 280;
export const PEN = 26; // width of the drawn line; rasterised, the pen is 2.6 of 28 pixels
const MIN_SIDE = 28; // a tenth of the canvas
const APART = 2; // units between points; more points would only lengthen links
const BASE = 36;

/** The bounding box, or null without points. */
export function boxOf(strokes: Stroke[]): Box | null {
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const stroke of strokes) {
    for (const [x, y] of stroke) {
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x);
      box[3] = Math.max(box[3], y);
    }
  }
  return box[0] < Infinity ? box : null;
}

/** Whether the drawing is too small to classify. */
export function isTooSmall(strokes: Stroke[]): boolean {
  const box = boxOf(strokes);
  return box === null || sideOf(box) < MIN_SIDE;
}

/** The strokes of each digit, from left to right; small strokes away from all others belong to none. */
export function digitsOf(strokes: Stroke[]): Stroke[][] {
  const bySize = strokes.filter((stroke) => stroke.length > 0).sort((a, b) => sideOf(inkBox([b])) - sideOf(inkBox([a])));
  let groups: Stroke[][] = [];
  for (const stroke of bySize) {
    const isNear = (group: Stroke[]): boolean => group.some((other) => belongTogether(inkBox([stroke]), inkBox([other])));
    groups = [[stroke, ...groups.filter(isNear).flat()], ...groups.filter((group) => !isNear(group))];
  }
  const heights = groups.map((group) => heightOf(inkBox(group)));
  const tallest = Math.max(...heights);
  const kept = groups.filter((_, i) => heights[i] >= 0.35 * tallest);
  if (kept.length < 2) return strokes.length ? [strokes] : [];
  return kept.sort((a, b) => inkBox(a)[0] - inkBox(b)[0]);
}

/** The box of the ink: half of the pen's width beyond the points. */
function inkBox(strokes: Stroke[]): Box {
  return around(boxOf(strokes) ?? [0, 0, 0, 0], PEN / 2);
}

/** The stroke with one more point, unless it is too close to the last one. */
export function extended(stroke: Stroke, point: Point): Stroke {
  const [x, y] = onCanvas(point);
  const last = stroke[stroke.length - 1];
  if (last && Math.hypot(last[0] - x, last[1] - y) < APART) return stroke;
  return [...stroke, [x, y]];
}

/** The nearest point of whole units on the canvas. */
export function onCanvas([x, y]: Point): Point {
  const clamped = (value: number): number => Math.min(CANVAS - 1, Math.max(0, Math.round(value)));
  return [clamped(x), clamped(y)];
}

/** Strokes as text for a link: two characters per coordinate, a dot between strokes. */
export function strokesToText(strokes: Stroke[]): string {
  const two = (value: number): string => value.toString(BASE).padStart(2, "0");
  return strokes.map((stroke) => stroke.map(([x, y]) => two(x) + two(y)).join("")).join(".");
}

/** The strokes in a text, or null if it is invalid. */
export function strokesFromText(text: string): Stroke[] | null {
  if (text === "") return [];
  if (!/^([0-9a-z]{4})+(\.([0-9a-z]{4})+)*$/.test(text)) return null;
  return text
    .split(".")
    .map((part) =>
      (part.match(/..../g) ?? []).map((four) => onCanvas([parseInt(four.slice(0, 2), BASE), parseInt(four.slice(2), BASE)])),
    );
}
