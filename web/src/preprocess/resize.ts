// Resizing of images, as NumPy and Pillow do it.

import { grid, mapped, transposed, type Grid } from "./pixels";

/** Area averages where the image shrinks; bicubic, clipped to 0 … 1, where it grows. */
export function resizeArea(image: Grid, height: number, width: number): Grid {
  if (height > image.height || width > image.width) {
    const larger = resizeBicubic(image, height, width, [0, 0, image.width, image.height]);
    return mapped(larger, (value) => Math.min(1, Math.max(0, value)));
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

/** Linear interpolation at the centres of `height` bands of rows and `width` bands of columns. */
export function sampled(image: Grid, height: number, width: number): Grid {
  return separable(image, linearWeights(image.width, width), linearWeights(image.height, height));
}

function linearWeights(inputs: number, outputs: number): Weights {
  return Array.from({ length: outputs }, (_, i) => {
    const place = Math.min(inputs - 1, Math.max(0, ((i + 0.5) * inputs) / outputs - 0.5));
    const first = Math.min(Math.floor(place), Math.max(0, inputs - 2));
    return { first, weights: Float64Array.from(inputs > 1 ? [1 - place + first, place - first] : [1]) };
  });
}

/** Pillow's bicubic filter (a = −0.5), which averages where the image shrinks; `box` is left, top, right, bottom. */
export function resizeBicubic(image: Grid, height: number, width: number, [left, top, right, bottom]: number[]): Grid {
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
