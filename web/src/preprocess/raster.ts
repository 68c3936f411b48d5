// Strokes to pixels as in MNIST, as in clearhead.data.preprocessing.strokes.
//
// The longer side of the ink's box becomes 20 of 28 pixels, and the ink is moved by whole pixels until
// its centre of mass is in the middle. The pen is round; a pixel has 8 × 8 samples. The canvas of the
// browser is not used, because its filters differ.

import type { Size } from "../engine/config";
import { grid, sideOf, type Grid } from "./pixels";
import { centred as toMiddle } from "./scaling";
import { CANVAS, boxOf, type Point, type Stroke } from "./strokes";

const SAMPLES = 8; // per pixel and axis
const INK_SHARE = 20 / 28;
const PEN_SHARE = 2.6 / 28; // matches MNIST's mean ink

/** Ink from 0 to 1 in every pixel, row by row. */
export function rasterise(strokes: Stroke[], size: Size, centred = true): Float64Array {
  const box = boxOf(strokes);
  if (box === null) return new Float64Array(size[0] * size[1]);
  const shorter = Math.min(...size);
  const pen = PEN_SHARE * shorter;
  if (!centred) return Float64Array.from(inkOf(moved(strokes, [0, 0], shorter / CANVAS, 0), pen, size).values);
  const side = sideOf(box);
  const scale = side > 0 ? (INK_SHARE * shorter - pen) / side : 1;
  const ink = inkOf(moved(strokes, [box[0], box[1]], scale, pen / 2), pen, size);
  return Float64Array.from(toMiddle(ink, size, 0, (value) => Math.floor(value + 0.5)).values);
}

function moved(strokes: Stroke[], origin: Point, scale: number, margin: number): Stroke[] {
  return strokes.map((stroke) =>
    stroke.map(([x, y]): Point => [(x - origin[0]) * scale + margin, (y - origin[1]) * scale + margin]),
  );
}

/** The share of each pixel's samples under the pen. */
function inkOf(strokes: Stroke[], pen: number, [high, wide]: Size): Grid {
  const ink = grid(wide, high);
  const inked = new Uint8Array(high * SAMPLES * wide * SAMPLES);
  for (const stroke of strokes) {
    if (stroke.length === 1) addLine(ink, inked, stroke[0], stroke[0], pen / 2);
    for (let i = 1; i < stroke.length; i++) addLine(ink, inked, stroke[i - 1], stroke[i], pen / 2);
  }
  return ink;
}

/** Adds the samples within `radius` of the line from `start` to `end` that are not `inked` yet. */
function addLine({ width, height, values }: Grid, inked: Uint8Array, start: Point, end: Point, radius: number): void {
  const across = end[0] - start[0];
  const down = end[1] - start[1];
  const length = across * across + down * down || 1;
  const square = radius * radius;
  const [top, bottom] = samplesNear(start[1], end[1], radius, height * SAMPLES);
  for (let row = top; row < bottom; row++) {
    const y = (row + 0.5) / SAMPLES;
    const beyond = Math.max(Math.min(start[1], end[1]) - y, y - Math.max(start[1], end[1]), 0);
    if (beyond > radius) continue;
    const [left, right] = samplesNear(start[0], end[0], Math.sqrt(square - beyond * beyond), width * SAMPLES);
    for (let column = left; column < right; column++) {
      const sample = row * width * SAMPLES + column;
      if (inked[sample]) continue; // successive lines overlap
      const x = (column + 0.5) / SAMPLES;
      const along = ((x - start[0]) * across + (y - start[1]) * down) / length;
      const nearest = Math.min(Math.max(along, 0), 1);
      const toX = x - (start[0] + nearest * across);
      const toY = y - (start[1] + nearest * down);
      if (toX * toX + toY * toY > square) continue;
      inked[sample] = 1;
      values[Math.floor(row / SAMPLES) * width + Math.floor(column / SAMPLES)] += 1 / SAMPLES ** 2; // exact in single precision
    }
  }
}

function samplesNear(start: number, end: number, radius: number, count: number): [number, number] {
  const first = Math.floor((Math.min(start, end) - radius) * SAMPLES) - 1;
  const last = Math.ceil((Math.max(start, end) + radius) * SAMPLES) + 1;
  return [Math.min(Math.max(first, 0), count), Math.min(Math.max(last, 0), count)];
}
