// Scans that were enlarged, by repeating pixels or by interpolation, at their original size again, as in
// clearhead.data.preprocessing.resolution.

import { downsample, highest, longer, lowest, made, rounded, transposed, type Grid } from "./pixels";
import { resizeArea, sampled } from "./resize";

const [MIN_SCAN, MAX_SCAN] = [7, 32]; // pixels on the longer side of a scan that may have been enlarged
const TESTED_SIDE = 64; // of the longer side (up to twice that) at which interpolation is tested
const MIN_RANGE = 0.35; // of grey; less may be paper and its light
const MAX_STEP = 0.6; // between neighbours, relative to the range: enlarged by a factor of 2, an edge has two steps
const MIN_CHANGES = 0.5; // of the edges of blocks along an axis; fewer may be those of a drawn bar
const MAX_DEVIATION = 0.15; // from the interpolation of a scan, relative to the range
const GREY_LEVEL = 1 / 255;

/** A scan of 7 to 32 pixels that was enlarged by a factor of at least 2, at its original size; any other image unchanged. */
export function atOriginalSize(grey: Grid): Grid {
  return repeated(grey) ?? interpolated(grey);
}

/** Heights and widths of scans that may have been enlarged to this size. */
function sizesOf(image: Grid, least = MIN_SCAN): [number, number][] {
  const limit = Math.min(MAX_SCAN, Math.floor(longer(image) / 2));
  return Array.from({ length: Math.max(0, limit - least + 1) }, (_, i) => {
    const sized = (length: number): number => Math.max(1, rounded((length * (least + i)) / longer(image)));
    return [sized(image.height), sized(image.width)];
  });
}

/** The scan whose pixels were repeated, by whole or other factors. */
function repeated(grey: Grid): Grid | undefined {
  const changes = [grey, transposed(grey)].map(changedRows);
  const limit = Math.min(MAX_SCAN, Math.floor(longer(grey) / 2));
  if (changes.some(({ length }) => length === 0 || length >= limit)) return undefined;
  const size = sizesOf(grey).find(([high, wide]) => {
    const share = Math.max(changes[0].length / Math.max(1, high - 1), changes[1].length / Math.max(1, wide - 1));
    return share >= MIN_CHANGES && areEdges(changes[0], grey.height / high) && areEdges(changes[1], grey.width / wide);
  });
  if (!size) return undefined;
  const [high, wide] = size;
  const middle = (i: number, length: number, count: number): number => Math.floor(((i + 0.5) * length) / count);
  return made(wide, high, (x, y) => grey.values[middle(y, grey.height, high) * grey.width + middle(x, grey.width, wide)]);
}

/** The rows that differ from the one above; at most as many as matter. */
function changedRows({ width, height, values }: Grid): number[] {
  const places: number[] = [];
  for (let i = width; i < width * height && places.length < MAX_SCAN; i++) {
    if (values[i] === values[i - width]) continue;
    const row = Math.floor(i / width);
    places.push(row);
    i = (row + 1) * width - 1;
  }
  return places;
}

/** Whether blocks of this length end at these places, in one of the usual ways to round. */
function areEdges(places: number[], block: number): boolean {
  return places.every((place) => {
    const end = rounded(place / block) * block;
    return Math.ceil(end - 0.5) <= place && place <= Math.ceil(end);
  });
}

/** The scan that was enlarged by a smooth filter. */
function interpolated(grey: Grid): Grid {
  const image = downsample(grey, TESTED_SIDE);
  const span = highest(image.values) - lowest(image.values);
  const sizes = sizesOf(image, MIN_SCAN - 1);
  if (span < MIN_RANGE || sizes.length === 0 || Math.max(...[image, transposed(image)].map(steepest)) > MAX_STEP * span) return grey;
  const difference = (larger: Grid): number => larger.values.reduce((most, value, i) => Math.max(most, Math.abs(value - image.values[i])), 0);
  const deviation = (scan: Grid): number =>
    Math.min(...[resizeArea, sampled].map((enlarge) => difference(enlarge(scan, image.height, image.width))));
  const [high, wide] = sizes[sizes.length - 1].map((side) => Math.max(1, Math.floor((3 * side) / 2)));
  if (deviation(resizeArea(image, high, wide)) > MAX_DEVIATION * span) return grey; // most images, without a search
  let [found, least, before] = [grey, Infinity, 0];
  for (const [rows, columns] of sizes) {
    const scan = sampled(image, rows, columns);
    const after = deviation(scan);
    const drop = before ? after / Math.max(before, GREY_LEVEL) : Infinity; // far less than 1 at the scan's own size
    if (after <= MAX_DEVIATION * span && drop < least) [found, least] = [scan, drop];
    before = after;
  }
  return found;
}

/** The largest difference between a pixel and the one below. */
function steepest({ width, values }: Grid): number {
  return values.subarray(width).reduce((most, value, i) => Math.max(most, Math.abs(value - values[i])), 0);
}
