// Polygons, which look like zeros at a low resolution, as in clearhead.data.preprocessing.polygons.

import { boxOf, heightOf, labelFree, maskOf, widthOf, type Grid } from "./arrays";

type Point = [number, number];

const MAX_MARGIN = 0.2; // from a polygon's inside to each end of the ink, relative to the ink
const MIN_PIXELS = 12; // of each side of the inside
const DIRECTIONS = 16;
const MIN_SHARE = [[4, 0.9], [5, 0.955]]; // area of the largest polygon with so many corners in a loop, relative to the loop's convex hull
const MAX_FILLED = 0.85; // of its bounding box; printed zeros may be rectangles

/** Whether ink, cut to its bounding box, is the outline of a polygon without upright sides. */
export function isPolygon(core: Grid): boolean {
  const { labels, areas } = labelFree(core);
  const largest = areas.indexOf(Math.max(...areas.slice(2)), 2);
  if (largest < 0) return false;
  const inside = maskOf(labels, (number) => number === largest);
  const box = boxOf(inside); // in a frame of one pixel
  const [wide, high] = [widthOf(box), heightOf(box)];
  const [across, down] = [MAX_MARGIN * core.width, MAX_MARGIN * core.height];
  const isWhole = box[0] - 1 <= across && box[1] - 1 <= down && core.width + 1 - box[2] <= across && core.height + 1 - box[3] <= down;
  if (!isWhole || Math.min(wide, high) < MIN_PIXELS || areas[largest] >= MAX_FILLED * wide * high) return false;
  const points: Point[] = [];
  inside.values.forEach((value, i) => value && points.push([i % inside.width, Math.floor(i / inside.width)]));
  const extreme = Array.from({ length: DIRECTIONS }, (_, n) => {
    const [cos, sin] = [Math.cos((2 * Math.PI * n) / DIRECTIONS), Math.sin((2 * Math.PI * n) / DIRECTIONS)];
    return points.reduce((a, b) => (b[0] * cos + b[1] * sin > a[0] * cos + a[1] * sin ? b : a));
  });
  return MIN_SHARE.some(([count, share]) => Math.max(...choices(extreme, count).map(areaOf)) >= share * areaOf(extreme));
}

function choices(points: Point[], count: number): Point[][] {
  if (count === 0) return [[]];
  return points.flatMap((point, n) => choices(points.slice(n + 1), count - 1).map((rest) => [point, ...rest]));
}

/** By the shoelace formula. */
function areaOf(corners: Point[]): number {
  return Math.abs(corners.reduce((all, [x, y], n) => all + x * corners[(n + 1) % corners.length][1] - y * corners[(n + 1) % corners.length][0], 0)) / 2;
}
