// Strokes: polylines on a canvas of 280 × 280 units, and the digits that they form.

export type Point = [number, number];
export type Stroke = Point[];

export interface Box {
  low: Point;
  high: Point;
}

export const CANVAS = 280;
export const PEN = 26; // width of the drawn line; rasterised, the pen is 2.6 of 28 pixels
const MIN_SIDE = 28; // a tenth of the canvas
const APART = 2; // units between points; more points would only lengthen links
const BASE = 36;

/** The corners of the bounding box, or null without points. */
export function boxOf(strokes: Stroke[]): Box | null {
  const points = strokes.flat();
  if (points.length === 0) return null;
  const low: Point = [Infinity, Infinity];
  const high: Point = [-Infinity, -Infinity];
  for (const [x, y] of points) {
    low[0] = Math.min(low[0], x);
    low[1] = Math.min(low[1], y);
    high[0] = Math.max(high[0], x);
    high[1] = Math.max(high[1], y);
  }
  return { low, high };
}

/** Whether the drawing is too small to classify. */
export function isTooSmall(strokes: Stroke[]): boolean {
  const box = boxOf(strokes);
  return box === null || Math.max(box.high[0] - box.low[0], box.high[1] - box.low[1]) < MIN_SIDE;
}

/** The strokes of each digit, from left to right; small strokes away from all others belong to none. */
export function digitsOf(strokes: Stroke[]): Stroke[][] {
  const bySize = strokes.filter((stroke) => stroke.length > 0).sort((a, b) => sideOf(inkBox([b])) - sideOf(inkBox([a])));
  let groups: Stroke[][] = [];
  for (const stroke of bySize) {
    const isNear = (group: Stroke[]): boolean => group.some((other) => belongTogether(inkBox([stroke]), inkBox([other])));
    groups = [[stroke, ...groups.filter(isNear).flat()], ...groups.filter((group) => !isNear(group))];
  }
  const heights = groups.map((group) => lengthOf(inkBox(group), 1));
  const tallest = Math.max(...heights);
  const kept = groups.filter((_, i) => heights[i] >= 0.35 * tallest);
  if (kept.length < 2) return strokes.length ? [strokes] : [];
  return kept.sort((a, b) => inkBox(a).low[0] - inkBox(b).low[0]);
}

/** Whether two strokes belong to one digit, as in clearhead.data.preprocessing.digits. */
function belongTogether(part: Box, other: Box): boolean {
  const sizes = [sideOf(part), sideOf(other)];
  const gaps = [0, 1].map((axis) => Math.max(part.low[axis] - other.high[axis], other.low[axis] - part.high[axis]));
  const larger = Math.max(...sizes);
  const [gapX, gapY] = gaps;
  if (Math.max(gapX, gapY) < 0) return true;
  const heights = [lengthOf(part, 1), lengthOf(other, 1)];
  if (Math.min(...sizes) < 0.6 * larger) {
    const isBar = 2 * heights[0] < lengthOf(part, 0);
    const isHigh = part.high[1] < other.low[1] + 0.3 * heights[1];
    return Math.max(gapX, gapY) < (isBar && isHigh ? 0.25 : 0.15) * larger;
  }
  if (gapY < 0 && Math.min(...heights) < 0.8 * Math.max(...heights) && gapX < 0.08 * larger) return true;
  const [width, height] = [0, 1].map(
    (axis) => Math.max(part.high[axis], other.high[axis]) - Math.min(part.low[axis], other.low[axis]),
  );
  const isStacked = gapX < -0.5 * Math.min(lengthOf(part, 0), lengthOf(other, 0));
  return isStacked && gapY < 0.08 * larger && (width < 0.4 * larger || height < 2 * width);
}

/** The box of the ink: half of the pen's width beyond the points. */
function inkBox(strokes: Stroke[]): Box {
  const { low, high } = boxOf(strokes) ?? { low: [0, 0], high: [0, 0] };
  return { low: [low[0] - PEN / 2, low[1] - PEN / 2], high: [high[0] + PEN / 2, high[1] + PEN / 2] };
}

function lengthOf({ low, high }: Box, axis: number): number {
  return high[axis] - low[axis];
}

function sideOf(box: Box): number {
  return Math.max(lengthOf(box, 0), lengthOf(box, 1));
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
