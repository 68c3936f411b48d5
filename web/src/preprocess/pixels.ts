// Images as arrays, and the operations on them that preprocessing is made of, as in NumPy and SciPy.

/** One number for each pixel, row by row; in a mask, 0 or 1. */
export interface Grid {
  width: number;
  height: number;
  values: Float32Array;
}

/** Left, top, right and bottom; the last two are exclusive. */
export type Box = [number, number, number, number];

const MIN_SHARE = 0.375; // of `side` in `downsample`, for the shorter side

export function grid(width: number, height: number, values: Float32Array = new Float32Array(width * height)): Grid {
  return { width, height, values };
}

export function made(width: number, height: number, valueAt: (x: number, y: number) => number): Grid {
  const values = new Float32Array(width * height);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++) values[i++] = valueAt(x, y);
  return { width, height, values };
}

export function mapped({ width, height, values }: Grid, change: (value: number, i: number) => number): Grid {
  const changed = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) changed[i] = change(values[i], i);
  return { width, height, values: changed };
}

/** 1 where a condition is met, else 0. */
export function maskOf(image: Grid, isMet: (value: number, i: number) => unknown): Grid {
  return mapped(image, (value, i) => (isMet(value, i) ? 1 : 0));
}

export function transposed({ width, height, values }: Grid): Grid {
  const turned = grid(height, width);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++) turned.values[x * height + y] = values[i++];
  return turned;
}

/** Each `step`-th pixel of each `step`-th row. */
export function thinned({ width, height, values }: Grid, step: number): Grid {
  return made(Math.ceil(width / step), Math.ceil(height / step), (x, y) => values[y * step * width + x * step]);
}

/** The image with zeros around it. */
export function padded({ width, height, values }: Grid, margin: number): Grid {
  const larger = grid(width + 2 * margin, height + 2 * margin);
  for (let y = 0; y < height; y++) larger.values.set(values.subarray(y * width, (y + 1) * width), (y + margin) * larger.width + margin);
  return larger;
}

/** The part in a box, as far as the box is in the image; by default, in that of all above 0. */
export function cropped(image: Grid, box = boxOf(image)): Grid {
  const [left, top, right, bottom] = clamped(box, image);
  const part = grid(right - left, bottom - top);
  for (let y = top; y < bottom; y++) part.values.set(image.values.subarray(y * image.width + left, y * image.width + right), (y - top) * part.width);
  return part;
}

export function boxOf({ width, height, values }: Grid, above = 0): Box {
  const box: Box = [width, height, 0, 0];
  for (let i = 0; i < values.length; i++) if (values[i] > above) widen(box, i % width, Math.floor(i / width));
  return box;
}

function widen(box: Box, x: number, y: number): void {
  if (x < box[0]) box[0] = x;
  if (y < box[1]) box[1] = y;
  if (x >= box[2]) box[2] = x + 1;
  if (y >= box[3]) box[3] = y + 1;
}

export function clamped([left, top, right, bottom]: Box, { width, height }: Grid): Box {
  return [Math.max(0, left), Math.max(0, top), Math.min(width, right), Math.min(height, bottom)];
}

/** A box with a margin. */
export function around([left, top, right, bottom]: Box, margin: number): Box {
  return [left - margin, top - margin, right + margin, bottom + margin];
}

export function hull(boxes: Box[]): Box {
  const all = (axis: number): number[] => boxes.map((box) => box[axis]);
  return [Math.min(...all(0)), Math.min(...all(1)), Math.max(...all(2)), Math.max(...all(3))];
}

export const widthOf = (box: Box): number => box[2] - box[0];
export const heightOf = (box: Box): number => box[3] - box[1];
export const sideOf = (box: Box): number => Math.max(widthOf(box), heightOf(box));
export const longer = ({ width, height }: Grid): number => Math.max(width, height);
export const any = ({ values }: Grid): boolean => values.some(Boolean);
export const mean = ({ values }: Grid): number => sum(values) / values.length;
export const sum = (values: Float32Array): number => values.reduce((a, b) => a + b, 0);
export const lowest = (values: Float32Array): number => values.reduce((a, b) => Math.min(a, b));
export const highest = (values: Float32Array): number => values.reduce((a, b) => Math.max(a, b));

/** The nearest integer, of two the even one. */
export function rounded(value: number): number {
  const below = Math.floor(value);
  return value - below === 0.5 && below % 2 === 0 ? below : Math.round(value);
}

export function median(values: ArrayLike<number>): number {
  const ordered = Float64Array.from(values).sort();
  return (ordered[(ordered.length - 1) >> 1] + ordered[ordered.length >> 1]) / 2;
}

/** The values above a limit, or at it. */
export function above(ordered: Float32Array, limit: number, isIncluded = false): Float32Array {
  const first = ordered.findIndex((value) => value > limit || (isIncluded && value === limit));
  return ordered.subarray(first < 0 ? ordered.length : first);
}

export function quantile(ordered: Float32Array, share: number): number {
  return ordered[rounded(share * (ordered.length - 1))];
}

/** The factor by which `downsample` reduces an image. */
export function reduction({ width, height }: Grid, side: number): number {
  return Math.max(1, Math.min(Math.floor(Math.max(width, height) / side), Math.floor(Math.min(width, height) / (MIN_SHARE * side))));
}

/** Averages over squares of pixels, so that the longer side is `side` to twice that; longer if the shorter one would have too few pixels. */
export function downsample(image: Grid, side: number): Grid {
  const factor = reduction(image, side);
  if (factor === 1) return image;
  const { width, height, values } = image;
  return made(Math.ceil(width / factor), Math.ceil(height / factor), (x, y) => {
    let all = 0;
    for (let v = y * factor; v < (y + 1) * factor; v++) {
      const row = Math.min(v, height - 1) * width;
      for (let u = x * factor; u < (x + 1) * factor; u++) all += values[row + Math.min(u, width - 1)];
    }
    return all / factor ** 2;
  });
}

/** What is at most `reach` pixels away along each axis (dilation by a square). */
export function near(mask: Grid, reach: number): Grid {
  return inSquare(padded(mask, reach), 2 * reach + 1, true);
}

/** The grey closing by a square (Serra 1982), wider than any stroke. Pixels beyond the border count as dark. */
export function closing(grey: Grid, share: number): Grid {
  const window = Math.max(3, rounded(share * longer(grey)) | 1);
  return inSquare(inSquare(padded(grey, window - 1), window, true), window, false);
}

/** The maximum or minimum in each square of `window` × `window` pixels. */
export function inSquare(image: Grid, window: number, isMax: boolean): Grid {
  return transposed(sliding(transposed(sliding(image, window, isMax)), window, isMax));
}

/** The maximum or minimum of each `window` successive columns, from windows of 1, 2, 4, … columns. */
export function sliding({ width, height, values }: Grid, window: number, isMax: boolean): Grid {
  const extremes = values.slice(); // windows that reach beyond the end of a row are cut off at last
  for (let size = 1, step = 1; size < window; size += step) {
    step = Math.min(size, window - size);
    for (let i = 0; i < extremes.length - step; i++) if (extremes[i + step] > extremes[i] === isMax) extremes[i] = extremes[i + step];
  }
  return cropped(grid(width, height, extremes), [0, 0, width - window + 1, height]);
}

export interface Components {
  labels: Grid; // the number of each pixel's component, from 1; 0 is outside the mask
  boxes: Box[]; // by number; the first is empty
  areas: number[];
}

/** Connected components: with diagonals, of 8 neighbours, else of 4. */
export function label(mask: Grid, diagonals = true): Components {
  const { width, height, values } = mask;
  const labels = grid(width, height);
  const boxes: Box[] = [[0, 0, 0, 0]];
  const areas = [0];
  const stack: number[] = [];
  for (let start = 0; start < values.length; start++) {
    if (!values[start] || labels.values[start]) continue;
    const number = boxes.push([width, height, 0, 0]) - 1;
    areas.push(0);
    labels.values[start] = number;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop()!;
      const x = at % width;
      const y = (at - x) / width;
      areas[number]++;
      widen(boxes[number], x, y);
      for (let v = Math.max(0, y - 1); v <= y + 1 && v < height; v++) {
        for (let u = Math.max(0, x - 1); u <= x + 1 && u < width; u++) {
          const next = v * width + u;
          if (values[next] && !labels.values[next] && (diagonals || u === x || v === y)) {
            labels.values[next] = number;
            stack.push(next);
          }
        }
      }
    }
  }
  return { labels, boxes, areas };
}

/** What a mask leaves free, in a frame of one pixel; the first component is outside. */
export function labelFree(mask: Grid): Components {
  return label(maskOf(padded(mask, 1), (value) => !value), false);
}

/** Width of the strokes of a mask; beyond its border is nothing. In a band of width w, the mean distance to the nearest pixel outside is (w + 2) / 4. */
export function strokeWidth({ width, height, values }: Grid): number {
  const FAR = 1e6;
  const down = new Float64Array(values.length); // to the nearest pixel outside in the same column
  for (let i = 0; i < values.length; i++) down[i] = values[i] ? (i < width ? FAR : down[i - width] + 1) : 0;
  for (let i = values.length - width - 1; i >= 0; i--) down[i] = Math.min(down[i], down[i + width] + 1);
  let [total, count] = [0, 0];
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (!values[i]) continue;
      let best = down[i] ** 2;
      for (let aside = 1; aside < width && aside * aside < best; aside++) {
        if (x >= aside) best = Math.min(best, aside * aside + down[i - aside] ** 2);
        if (x + aside < width) best = Math.min(best, aside * aside + down[i + aside] ** 2);
      }
      total += Math.sqrt(best);
      count++;
    }
  }
  return (4 * total) / count - 2;
}

/** The factors by which the other columns of rows add up to the first one, by Gauss–Jordan elimination of the normal equations. */
export function leastSquares(rows: number[][]): number[] {
  const columns = rows[0].map((_, n) => n).slice(1);
  const product = (a: number, b: number): number => rows.reduce((all, row) => all + row[a] * row[b], 0);
  const system = columns.map((a) => [...columns.map((b) => product(a, b)), product(a, 0)]);
  system.forEach((row, n) => {
    const pivot = row[n] || 1;
    for (let m = 0; m < row.length; m++) row[m] /= pivot;
    for (const other of system) {
      const factor = other === row ? 0 : other[n];
      for (let m = 0; m < row.length; m++) other[m] -= factor * row[m];
    }
  });
  return system.map((row) => row[columns.length]);
}

export function residual(row: number[], factors: number[]): number {
  return factors.reduce((left, factor, n) => left - factor * row[n + 1], row[0]);
}
