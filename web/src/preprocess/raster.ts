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
  const inked = new Uint8Array(high * SAMPLES * wide * SAMPLES);
  for (const stroke of strokes) {
    if (stroke.length === 1) markLine(inked, [high, wide], stroke[0], stroke[0], pen / 2);
    for (let i = 1; i < stroke.length; i++) {
      markLine(inked, [high, wide], stroke[i - 1], stroke[i], pen / 2);
    }
  }
  const ink = grid(wide, high);
  let sample = 0;
  for (let y = 0; y < high * SAMPLES; y++) {
    const row = Math.floor(y / SAMPLES) * wide;
    for (let x = 0; x < wide * SAMPLES; x++) {
      if (inked[sample++]) ink.values[row + Math.floor(x / SAMPLES)] += 1 / SAMPLES ** 2; // exact in single precision
    }
  }
  return ink;
}

/** Marks the samples within `radius` of the line from `start` to `end`. */
function markLine(inked: Uint8Array, [high, wide]: Size, start: Point, end: Point, radius: number): void {
  const across = end[0] - start[0];
  const down = end[1] - start[1];
  const length = across * across + down * down || 1;
  const rows = samplesNear(start[1], end[1], radius, high * SAMPLES);
  const columns = samplesNear(start[0], end[0], radius, wide * SAMPLES);
  for (let row = rows[0]; row < rows[1]; row++) {
    const y = (row + 0.5) / SAMPLES;
    for (let column = columns[0]; column < columns[1]; column++) {
      if (inked[row * wide * SAMPLES + column]) continue; // successive lines overlap
      const x = (column + 0.5) / SAMPLES;
      const along = ((x - start[0]) * across + (y - start[1]) * down) / length;
      const nearest = Math.min(Math.max(along, 0), 1);
      const toX = x - (start[0] + nearest * across);
      const toY = y - (start[1] + nearest * down);
      if (toX * toX + toY * toY <= radius * radius) inked[row * wide * SAMPLES + column] = 1;
    }
  }
}

function samplesNear(start: number, end: number, radius: number, count: number): [number, number] {
  const first = Math.floor((Math.min(start, end) - radius) * SAMPLES) - 1;
  const last = Math.ceil((Math.max(start, end) + radius) * SAMPLES) + 1;
  return [Math.min(Math.max(first, 0), count), Math.min(Math.max(last, 0), count)];
}
