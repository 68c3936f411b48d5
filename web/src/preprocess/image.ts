// Pictures as arrays: luminance, averages over areas, and resizing as Pillow does.

import type { Size } from "../engine/config";

/** As ImageData: red, green, blue and alpha of each pixel, 0 to 255. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray;
}

/** One number for each pixel, row by row. */
export interface Grid {
  width: number;
  height: number;
  values: Float32Array;
}

const MAX_UNIFORM_STD = 0.1; // standard deviation below which the visible part counts as one colour

export function grid(width: number, height: number, values = new Float32Array(width * height)): Grid {
  return { width, height, values };
}

/** The pixels of a picture file that the browser can decode. */
export async function pixelsOf(file: Blob): Promise<Pixels> {
  const bitmap = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no canvas");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/**
 * Luminance from 0 to 1 (ITU-R BT.601, with Pillow's weights). A transparent picture is put on black or
 * white, whichever its visible part differs from; if that has several colours, on their median.
 */
export function toGrey({ width, height, data }: Pixels): Grid {
  const grey = grid(width, height);
  const alpha = new Float32Array(width * height);
  for (let i = 0; i < alpha.length; i++) {
    const [red, green, blue] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    grey.values[i] = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) / 255;
    alpha[i] = data[4 * i + 3] / 255;
  }
  if (alpha.every((value) => value === 1)) return grey;
  const shown = grey.values.filter((_, i) => alpha[i] > 0.5).sort();
  if (shown.length === 0) return grid(width, height, new Float32Array(width * height).fill(1));
  const mean = shown.reduce((sum, value) => sum + value, 0) / shown.length;
  const std = Math.sqrt(shown.reduce((sum, value) => sum + (value - mean) ** 2, 0) / shown.length);
  const coverage = alpha.reduce((sum, value) => sum + value, 0) / alpha.length;
  const isUniform = std < MAX_UNIFORM_STD || coverage < MAX_UNIFORM_STD;
  const background = isUniform ? (mean < 0.5 ? 1 : 0) : shown[shown.length >> 1];
  return grid(width, height, grey.values.map((value, i) => value * alpha[i] + background * (1 - alpha[i])));
}

/** The nearest integer, of two the even one, as Python rounds. */
export function rounded(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 && below % 2 === 0 ? below : Math.round(value);
}

/** Averages over squares of pixels, so that the longer side is `side` to twice that. */
export function downsample(image: Grid, side: number): { image: Grid; factor: number } {
  const factor = Math.floor(Math.max(image.width, image.height) / side);
  if (factor <= 1) return { image, factor: 1 };
  const small = grid(Math.ceil(image.width / factor), Math.ceil(image.height / factor));
  for (let y = 0; y < small.height * factor; y++) {
    const from = Math.min(y, image.height - 1) * image.width;
    const to = Math.floor(y / factor) * small.width;
    for (let x = 0; x < small.width * factor; x++) {
      small.values[to + Math.floor(x / factor)] += image.values[from + Math.min(x, image.width - 1)] / factor ** 2;
    }
  }
  return { image: small, factor };
}

/** Area averages where the image shrinks; bicubic, clipped to 0 … 1, where it grows. */
export function resizeArea(image: Grid, height: number, width: number): Grid {
  if (height > image.height || width > image.width) {
    const larger = resizeBicubic(image, height, width, [0, 0, image.width, image.height]);
    return grid(width, height, larger.values.map((value) => Math.min(1, Math.max(0, value))));
  }
  return separable(image, areaWeights(image.width, width), areaWeights(image.height, height));
}

/** Weights of successive inputs, from `first` on, for each output. */
type Weights = { first: number; weights: Float64Array }[];

function areaWeights(inputs: number, outputs: number): Weights {
  const size = inputs / outputs;
  return Array.from({ length: outputs }, (_, i) => {
    const [low, high] = [i * size, (i + 1) * size];
    const first = Math.floor(low);
    const count = Math.min(inputs, Math.ceil(high - 1e-9)) - first;
    return { first, weights: Float64Array.from({ length: count }, (_, j) => (Math.min(high, first + j + 1) - Math.max(low, first + j)) / size) };
  });
}

/** Pillow's bicubic filter (a = −0.5), which averages where the image shrinks; `box` is left, top, right, bottom. */
function resizeBicubic(image: Grid, height: number, width: number, [left, top, right, bottom]: number[]): Grid {
  return separable(image, cubicWeights(image.width, width, left, right), cubicWeights(image.height, height, top, bottom));
}

function cubicWeights(inputs: number, outputs: number, low: number, high: number): Weights {
  const scale = (high - low) / outputs;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: outputs }, (_, i) => {
    const centre = low + (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 * stretch + 0.5));
    const stop = Math.min(inputs, Math.floor(centre + 2 * stretch + 0.5));
    const weights = Float64Array.from({ length: stop - first }, (_, j) => cubic((first + j - centre + 0.5) / stretch));
    const sum = weights.reduce((all, value) => all + value, 0);
    return { first, weights: weights.map((value) => value / sum) };
  });
}

function cubic(x: number): number {
  const size = Math.abs(x);
  if (size < 1) return (1.5 * size - 2.5) * size * size + 1;
  return size < 2 ? ((-0.5 * size + 2.5) * size - 4) * size + 2 : 0;
}

function separable(image: Grid, across: Weights, down: Weights): Grid {
  return transposed(resizedRows(transposed(resizedRows(image, across)), down));
}

function resizedRows({ width, height, values }: Grid, across: Weights): Grid {
  const result = grid(across.length, height);
  for (let y = 0; y < height; y++) {
    across.forEach(({ first, weights }, x) => {
      let sum = 0;
      for (let j = 0; j < weights.length; j++) sum += weights[j] * values[y * width + first + j];
      result.values[y * across.length + x] = sum;
    });
  }
  return result;
}

export function transposed({ width, height, values }: Grid): Grid {
  const result = grid(height, width);
  for (let i = 0; i < values.length; i++) result.values[(i % width) * height + Math.floor(i / width)] = values[i];
  return result;
}

/** A picture scaled until it covers the size, and cropped at its centre: bytes, channel by channel. */
export function fitted(pixels: Pixels, [height, width]: Size, inChannels: number): Uint8Array {
  const scale = Math.min(pixels.width / width, pixels.height / height);
  const [wide, high] = [width * scale, height * scale];
  const left = (pixels.width - wide) / 2;
  const top = (pixels.height - high) / 2;
  const planes = inChannels === 1 ? [toGrey(pixels)] : [0, 1, 2].map((channel) => onWhite(pixels, channel));
  const result = new Uint8Array(inChannels * height * width);
  planes.slice(0, inChannels).forEach((plane, channel) => {
    const resized = resizeBicubic(plane, height, width, [left, top, left + wide, top + high]);
    result.set(resized.values.map((value) => Math.min(255, Math.max(0, Math.round(value * 255)))), channel * height * width);
  });
  return result;
}

/** One channel from 0 to 1; transparent parts become white. */
function onWhite({ width, height, data }: Pixels, channel: number): Grid {
  const values = Float32Array.from({ length: width * height }, (_, i) => {
    const alpha = data[4 * i + 3] / 255;
    return (data[4 * i + channel] / 255) * alpha + 1 - alpha;
  });
  return grid(width, height, values);
}
