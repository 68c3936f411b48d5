// Printed lines in a mask of ink, as in clearhead.data.preprocessing.lines: rules, squares, frames and
// the cells of forms. A line is straight, long and thin, and ends at the border or at another line.

import { cropped, heightOf, label, longer, maskOf, median, padded, rounded, strokeWidth, transposed, type Grid } from "./pixels";

/** y = offset + slope · x for x from `start` to `stop`; for columns, x and y are exchanged. */
interface Line {
  slope: number;
  offset: number;
  start: number;
  stop: number;
  thickness: number;
}

/** A run of ink down a column; `y` is its middle. */
interface Run {
  x: number;
  top: number;
  y: number;
  length: number;
}

const MAX_SLOPE = 0.18; // about 10 degrees
const [MAX_THICKNESS, MIN_LENGTH] = [0.07, 0.1]; // of the longer side
const MIN_PIXELS = 18; // of a line's length
const MIN_COVERAGE = 0.75; // of the columns between the ends of a line
const MAX_GAP = 5;
const MAX_MARGIN = 0.1; // of a line's length, from its end to the border
const MAX_RATIO = 1.5; // of a line's thickness to that of a line where it ends; strokes are thicker
const [FRAME_SLACK, COMB_SLACK] = [0.25, 0.1]; // difference of the ends of equal lines, of their length
const [MIN_CROP, MIN_RATIO] = [0.75, 0.6]; // of a digit in a tight crop: height, and thickness of straight strokes
const MAX_LINES = 60; // in one direction

/** The mask without printed lines; a line may end at what is `outside` the paper. */
export function withoutLines(mask: Grid, outside: Grid): Grid {
  const turned = transposed(outside);
  let [rows, columns] = [linesOf(mask), linesOf(transposed(mask))];
  for (let before = -1; before !== rows.length + columns.length; ) {
    before = rows.length + columns.length;
    [rows, columns] = [
      rows.filter((line) => isAnchored(line, outside, columns, rows)),
      columns.filter((line) => isAnchored(line, turned, rows, columns)),
    ];
  }
  if (rows.length + columns.length === 0) return mask;
  const rest = erased(mask, rows, columns);
  const minThickness = MIN_RATIO * widthIfCropped(rest);
  const isThinner = ({ thickness }: Line): boolean => thickness < minThickness;
  return [...rows, ...columns].every(isThinner) ? rest : erased(mask, rows.filter(isThinner), columns.filter(isThinner));
}

/** The width of strokes that are nearly as high as the image: straight ones end at its border, too. */
function widthIfCropped(mask: Grid): number {
  const { labels, boxes } = label(mask);
  const widths = boxes.map((box, number) =>
    number > 0 && heightOf(box) >= MIN_CROP * mask.height ? strokeWidth(padded(maskOf(cropped(labels, box), (one) => one === number), 1)) : Infinity,
  );
  return Math.min(...widths);
}

function runsOf({ width, height, values }: Grid): Run[] {
  const runs: Run[] = [];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const top = y;
      while (y < height && values[y * width + x]) y++;
      if (y > top) runs.push({ x, top, y: (top + y - 1) / 2, length: y - top });
    }
  }
  return runs;
}

/** Lines that are about horizontal, by a Hough transform of the middles of short runs. */
function linesOf(mask: Grid): Line[] {
  const { width, height } = mask;
  const minLength = Math.max(MIN_PIXELS, MIN_LENGTH * longer(mask));
  const runs = runsOf(mask).filter(({ length }) => length <= Math.max(3, MAX_THICKNESS * longer(mask)));
  if (runs.length < minLength) return [];
  const steps = 2 * Math.max(1, rounded((MAX_SLOPE * width) / 2));
  const reach = Math.floor((MAX_SLOPE * width) / 2) + 2;
  let best = { slope: 0, most: -1, counts: new Int32Array() };
  for (let step = 0; step <= steps; step++) {
    const slope = step * ((2 * MAX_SLOPE) / steps) - MAX_SLOPE;
    const counts = new Int32Array(height + 2 * reach);
    for (const { x, y } of runs) counts[rounded(y - slope * (x - width / 2)) + reach]++;
    for (let bin = counts.length - 1; bin > 0; bin--) counts[bin] += counts[bin - 1];
    const most = Math.max(...counts);
    if (most > best.most) best = { slope, most, counts };
  }
  const { slope, counts } = best;
  const lines: Line[] = [];
  while (lines.length < MAX_LINES) {
    const most = Math.max(...counts);
    const peak = counts.indexOf(most);
    if (most < minLength * MIN_COVERAGE) break;
    counts.fill(0, Math.max(0, peak - 1), peak + 2);
    const close = runs.filter(({ x, y }) => Math.abs(y - slope * (x - width / 2) + reach - (peak - 0.5)) <= 2);
    lines.push(...fitted(runs, close, slope, mask).filter(({ start, stop }) => stop - start >= minLength));
  }
  return lines;
}

/** Least squares through the runs near a line, in pieces between gaps in what it covers. */
function fitted(runs: Run[], close: Run[], slope: number, { width, height, values }: Grid): Line[] {
  let offset = median(close.map(({ x, y }) => y - slope * x));
  let thickness = 0;
  for (const tolerance of [2, 1.5, 1, 1]) {
    thickness = median(close.map(({ length }) => length));
    close = runs.filter(({ x, y }) => Math.abs(y - offset - slope * x) <= tolerance * Math.max(1, 0.35 * thickness));
    if (close.length < MIN_PIXELS / 2) return [];
    const middle = close.reduce((all, { x }) => all + x, 0) / close.length;
    const level = close.reduce((all, { y }) => all + y, 0) / close.length;
    const spread = close.reduce((all, { x }) => all + (x - middle) ** 2, 0);
    slope = close.reduce((all, { x, y }) => all + (x - middle) * (y - level), 0) / Math.max(spread, 1);
    offset = level - slope * middle;
  }
  const pieces: Line[] = [];
  for (let x = 0; x < width; x++) {
    const y = rounded(offset + slope * x);
    if (y < 1 || y >= height - 1 || ![-1, 0, 1].some((aside) => values[(y + aside) * width + x])) continue;
    const last = pieces[pieces.length - 1];
    if (last && x - last.stop < MAX_GAP) last.stop = x + 1;
    else pieces.push({ slope, offset, start: x, stop: x + 1, thickness });
  }
  return pieces;
}

const yAt = ({ offset, slope }: Line, x: number): number => offset + slope * x;

/**
 * Whether both ends of a line are at the border of the paper, or at lines across. The sides of a frame also need
 * a counterpart, and the teeth of a comb, with one free end, two equal teeth.
 */
function isAnchored(line: Line, outside: Grid, across: Line[], like: Line[]): boolean {
  const { width, height, values } = outside;
  const { start, stop, thickness } = line;
  const close = Math.max(3, 0.015 * longer(outside));
  const isOutside = (x: number): boolean => {
    const [row, column] = [Math.min(Math.max(rounded(yAt(line, x)), 0), height - 1), Math.min(Math.max(rounded(x), 0), width - 1)];
    return values[row * width + column] > 0;
  };
  let [atBorder, atLines] = [0, 0];
  for (const [x, inward] of [[start, 1], [stop, -1]]) {
    const y = yAt(line, x);
    const margin = Math.min(close + thickness, MAX_MARGIN * (stop - start));
    if (Math.min(x, width - x, y, height - y) <= margin || (isOutside(x - inward * close) && !isOutside(x + inward * 2 * close))) atBorder++;
    else if (
      across.some(
        (other) =>
          Math.abs(yAt(other, y) - x) <= close + other.thickness / 2 &&
          other.start - close <= y && y <= other.stop + close &&
          thickness <= MAX_RATIO * other.thickness + 0.5,
      )
    ) atLines++;
  }
  const unlike = like.map((other) => Math.max(Math.abs(other.start - start), Math.abs(other.stop - stop)) / (stop - start));
  if (atBorder + atLines === 2) return atBorder > 0 || unlike.filter((change) => change <= FRAME_SLACK).length > 1;
  return atLines === 1 && unlike.filter((change) => change <= COMB_SLACK).length > 2;
}

/** Without the runs across lines that are not longer than a line is thick. */
function erased(mask: Grid, rows: Line[], columns: Line[]): Grid {
  const once = (from: Grid, lines: Line[]): Grid => {
    const rest = maskOf(from, Boolean);
    for (const { x, top, y, length } of lines.length ? runsOf(from) : []) {
      const isCrossed = lines.some(
        (line) =>
          Math.abs(y - yAt(line, x)) <= 1.5 + 0.4 * line.thickness && length <= 1.3 * line.thickness + 1.5 && x >= line.start - 2 && x < line.stop + 2,
      );
      if (isCrossed) for (let v = top; v < top + length; v++) rest.values[v * from.width + x] = 0;
    }
    return rest;
  };
  return transposed(once(transposed(once(mask, rows)), columns));
}
