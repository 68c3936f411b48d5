// An image as a sequence of patches that do not overlap.

import { row } from "./arithmetic";
import type { Config } from "./config";

const BLANK = 0.005; // mean ink below which a patch counts as blank

type Grid = Pick<Config, "imageShape" | "patchShape" | "grid" | "inChannels">;

/** Patches row by row, each flattened as (channel, row, column); `pixels` are channel by channel. */
export function cutPatches(pixels: Float64Array, { imageShape, patchShape, grid, inChannels }: Grid): Float64Array {
  const cut = new Float64Array(pixels.length);
  let place = 0;
  for (let patch = 0; patch < grid[0] * grid[1]; patch++) {
    const top = Math.floor(patch / grid[1]) * patchShape[0];
    const left = (patch % grid[1]) * patchShape[1];
    for (let channel = 0; channel < inChannels; channel++) {
      for (let row = 0; row < patchShape[0]; row++) {
        const start = (channel * imageShape[0] + top + row) * imageShape[1] + left;
        cut.set(pixels.subarray(start, start + patchShape[1]), place);
        place += patchShape[1];
      }
    }
  }
  return cut;
}

/** The same pixels with reordered patches: place i has patch order[i]. */
export function reorderPatches(pixels: Float64Array, config: Grid, order: number[]): Float64Array {
  const places = cutPatches(Float64Array.from(pixels.keys()), config); // of the cut pixels in the image
  const cut = cutPatches(pixels, config);
  const length = pixels.length / order.length;
  const result = new Float64Array(pixels.length);
  order.forEach((from, to) => row(cut, from, length).forEach((value, i) => (result[places[to * length + i]] = value)));
  return result;
}

/** The patch of a pixel of any channel. */
export function patchOf(pixel: number, { imageShape: [high, wide], patchShape, grid }: Omit<Grid, "inChannels">): number {
  const row = Math.floor((pixel % (high * wide)) / wide / patchShape[0]);
  return row * grid[1] + Math.floor((pixel % wide) / patchShape[1]);
}

/** Which patches hold almost no ink; in a picture, none. */
export function blankPatches(ink: Float64Array, config: Config): boolean[] {
  const length = config.inChannels * config.patchShape[0] * config.patchShape[1];
  const cut = cutPatches(ink, config);
  return Array.from({ length: config.patches }, (_, patch) => {
    const sum = row(cut, patch, length).reduce((all, value) => all + value, 0);
    return config.readsDigits && sum / length < BLANK;
  });
}

/** Row and column of a token's patch; null for the class token. */
export function placeOf(token: number, { numPrefixTokens, grid }: Pick<Config, "numPrefixTokens" | "grid">): [number, number] | null {
  const patch = token - numPrefixTokens;
  return patch < 0 ? null : [Math.floor(patch / grid[1]), patch % grid[1]];
}

/** (x - mean) / std in every channel of values from 0 to 1. */
export function normalize(values: Float64Array, { inChannels, mean, std }: Config): Float64Array {
  const plane = values.length / inChannels;
  return values.map((value, i) => {
    const channel = Math.floor(i / plane);
    return (value - mean[channel % mean.length]) / std[channel % std.length];
  });
}
