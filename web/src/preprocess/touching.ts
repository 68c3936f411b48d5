// Where digits that touch may be parted, as in clearhead.data.preprocessing.touching: a cut is the path from top
// to bottom through the least ink. Which of the parts between cuts are digits is decided by the classifier.

import { made, mean, rounded, thinned, type Grid } from "./pixels";

const [MIN_ASPECT, MAX_ASPECT] = [0.8, 5]; // width of digits that may touch, relative to their height
const MIN_WIDTH = 10;
const [CUTS_PER_HEIGHT, MIN_CUTS] = [4, 5]; // searched in windows along the width
const MAX_INK = 0.2; // of a cut's pixels
const STEP_COST = 0.03; // of a pixel of the path, and of a step aside, relative to ink
const MAX_ROWS = 48; // of the grid on which the path is searched

export function mayBeSeveral(width: number, height: number): boolean {
  return Math.max(MIN_WIDTH, MIN_ASPECT * height) <= width && width <= MAX_ASPECT * height;
}

/** The column of each cut in each row. */
export function cuts(ink: Grid): number[][] {
  const { width, height } = ink;
  const step = Math.ceil(height / MAX_ROWS);
  const coarse = thinned(ink, step);
  const count = Math.max(MIN_CUTS, rounded((CUTS_PER_HEIGHT * width) / height));
  const found = Array.from({ length: count }, (_, n) => {
    const middle = 1.25 / count + (n * (1 - 2.5 / count)) / (count - 1);
    const [first, stop] = [-0.5, 0.5].map((share) => rounded((middle + share / count) * coarse.width));
    const part = made(Math.min(Math.max(stop, first + 2), coarse.width) - first, coarse.height, (x, y) => coarse.values[y * coarse.width + first + x] + STEP_COST);
    return seam(part).map((column) => first + column);
  });
  const isThrough = (path: number[]): boolean => mean(made(1, path.length, (_, y) => coarse.values[y * coarse.width + path[y]])) <= MAX_INK;
  return found.filter(isThrough).map((path) => Array.from({ length: height }, (_, y) => step * path[Math.floor(y / step)]));
}

/** The columns of the cheapest path down the rows, each at most one column beside the last. */
function seam({ width, height, values }: Grid): number[] {
  const total: number[][] = [];
  const cheapest = (above: number[], x: number): number =>
    [x - 1, x, x + 1].reduce((best, at) => (above[at] + (at === x ? 0 : STEP_COST) < above[best] + (best === x ? 0 : STEP_COST) ? at : best), Math.max(0, x - 1));
  for (let y = 0; y < height; y++) {
    const above = total[y - 1];
    total.push(
      Array.from({ length: width }, (_, x) => {
        const from = above && cheapest(above, x);
        return values[y * width + x] + (above ? above[from] + (from === x ? 0 : STEP_COST) : 0);
      }),
    );
  }
  const last = total[height - 1];
  const path = [last.indexOf(Math.min(...last))];
  for (let y = height - 2; y >= 0; y--) path.unshift(cheapest(total[y], path[0]));
  return path;
}
