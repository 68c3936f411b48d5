// Strokes to pixels as in MNIST, as in clearhead.data.preprocessing.strokes.
//
// The longer side of the ink's box becomes 20 of 28 pixels, and the ink is moved by whole pixels until
// its centre of mass is in the middle. The pen is round; a pixel has 8 × 8 samples. The canvas of the
// browser is not used, because its filters differ.

import type { Size } from "../engine/config";
import { sideOf } from "./ink";
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
  if (!centred) {
    return inkOf(moved(strokes, [0, 0], shorter / CANVAS, 0), pen, size);
  }
  const side = sideOf(box);
  const scale = side > 0 ? (INK_SHARE * shorter - pen) / side : 1;
  return toMiddle(inkOf(moved(strokes, [box[0], box[1]], scale, pen / 2), pen, size), size);
}

function moved(strokes: Stroke[], origin: Point, scale: number, margin: number): Stroke[] {
  return strokes.map((stroke) =>
    stroke.map(([x, y]): Point => [(x - origin[0]) * scale + margin, (y - origin[1]) * scale + margin]),
  );
}

/** The share of each pixel's samples under the pen. */
function inkOf(strokes: Stroke[], pen: number, [high, wide]: Size): Float64Array {
  const inked = new Uint8Array(high * SAMPLES * wide * SAMPLES);
  for (const stroke of strokes) {
    if (stroke.length === 1) markLine(inked, [high, wide], stroke[0], stroke[0], pen / 2);
    for (let i = 1; i < stroke.length; i++) {
      markLine(inked, [high, wide], stroke[i - 1], stroke[i], pen / 2);
    }
  }
  const ink = new Float64Array(high * wide);
  for (let sample = 0; sample < inked.length; sample++) {
    const row = Math.floor(sample / (wide * SAMPLES) / SAMPLES);
    const column = Math.floor((sample % (wide * SAMPLES)) / SAMPLES);
    ink[row * wide + column] += inked[sample];
  }
  return ink.map((count) => count / SAMPLES ** 2);
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

/** Moved by whole pixels to the middle, as far as all ink stays in the image. */
function toMiddle(ink: Float64Array, [high, wide]: Size): Float64Array {
  const down = shiftToMiddle(sums(ink, high, wide, wide, 1));
  const right = shiftToMiddle(sums(ink, wide, high, 1, wide));
  const centred = new Float64Array(ink.length);
  for (let row = 0; row < high; row++) {
    for (let column = 0; column < wide; column++) {
      const value = ink[row * wide + column];
      if (value > 0) centred[(row + down) * wide + column + right] = value;
    }
  }
  return centred;
}

/** Ink in each row (or column): `count` sums of `length` values. */
function sums(ink: Float64Array, count: number, length: number, stride: number, step: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < length; j++) sum += ink[i * stride + j * step];
    return sum;
  });
}

function shiftToMiddle(mass: number[]): number {
  const total = mass.reduce((sum, value) => sum + value, 0);
  const moment = mass.reduce((sum, value, i) => sum + value * i, 0);
  const first = mass.findIndex((value) => value > 0);
  const last = mass.length - 1 - [...mass].reverse().findIndex((value) => value > 0);
  const shift = Math.floor(mass.length / 2 - moment / total + 0.5);
  return Math.min(Math.max(shift, -first), mass.length - 1 - last);
}
