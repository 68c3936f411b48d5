// Strokes: polylines on a canvas of 280 × 280 units.

/** @typedef {[number, number]} Point */
/** @typedef {Point[]} Stroke */

export const CANVAS = 280;
const MIN_SIDE = 28; // a tenth of the canvas
const APART = 2; // units between points; more points would only lengthen links
const DIGITS = 36;

/**
 * The corners of the bounding box, or null without points.
 * @param {Stroke[]} strokes
 * @returns {{low: Point, high: Point} | null}
 */
export function boxOf(strokes) {
  const points = strokes.flat();
  if (points.length === 0) return null;
  /** @type {Point} */
  const low = [Infinity, Infinity];
  /** @type {Point} */
  const high = [-Infinity, -Infinity];
  for (const [x, y] of points) {
    low[0] = Math.min(low[0], x);
    low[1] = Math.min(low[1], y);
    high[0] = Math.max(high[0], x);
    high[1] = Math.max(high[1], y);
  }
  return { low, high };
}

/**
 * Whether the drawing is too small to classify.
 * @param {Stroke[]} strokes
 */
export function isTooSmall(strokes) {
  const box = boxOf(strokes);
  if (box === null) return true;
  return Math.max(box.high[0] - box.low[0], box.high[1] - box.low[1]) < MIN_SIDE;
}

/**
 * Whether strokes of about the same height stand side by side, as several digits do.
 * @param {Stroke[]} strokes
 */
export function areSideBySide(strokes) {
  /** @type {{low: Point, high: Point}[]} */
  const groups = [];
  const byColumn = strokes.filter((stroke) => stroke.length).sort((a, b) => leftOf(a) - leftOf(b));
  for (const stroke of byColumn) {
    const last = groups[groups.length - 1];
    const box = boxOf(last && leftOf(stroke) <= last.high[0] ? [stroke, [last.low, last.high]] : [stroke]);
    if (box && last && leftOf(stroke) <= last.high[0]) groups.pop();
    if (box) groups.push(box);
  }
  const heights = groups.map(({ low, high }) => high[1] - low[1]);
  return heights.filter((height) => height >= 0.7 * Math.max(...heights)).length > 1;
}

/** @param {Stroke} stroke */
function leftOf(stroke) {
  return Math.min(...stroke.map(([x]) => x));
}

/**
 * The stroke with one more point, unless it is too close to the last one.
 * @param {Stroke} stroke
 * @param {Point} point
 * @returns {Stroke}
 */
export function extended(stroke, point) {
  const [x, y] = onCanvas(point);
  const last = stroke[stroke.length - 1];
  if (last && Math.hypot(last[0] - x, last[1] - y) < APART) return stroke;
  return [...stroke, [x, y]];
}

/**
 * The nearest point of whole units on the canvas.
 * @param {Point} point
 * @returns {Point}
 */
export function onCanvas([x, y]) {
  /** @param {number} value */
  const clamped = (value) => Math.min(CANVAS - 1, Math.max(0, Math.round(value)));
  return [clamped(x), clamped(y)];
}

/**
 * Strokes as text for a link: two characters per coordinate, a dot between strokes.
 * @param {Stroke[]} strokes
 */
export function strokesToText(strokes) {
  /** @param {number} value */
  const two = (value) => value.toString(DIGITS).padStart(2, "0");
  return strokes.map((stroke) => stroke.map(([x, y]) => two(x) + two(y)).join("")).join(".");
}

/**
 * The strokes in a text, or null if it is invalid.
 * @param {string} text
 * @returns {Stroke[] | null}
 */
export function strokesFromText(text) {
  if (text === "") return [];
  if (!/^([0-9a-z]{4})+(\.([0-9a-z]{4})+)*$/.test(text)) return null;
  return text.split(".").map((part) =>
    (part.match(/..../g) ?? []).map((four) =>
      onCanvas([parseInt(four.slice(0, 2), DIGITS), parseInt(four.slice(2), DIGITS)]),
    ),
  );
}
