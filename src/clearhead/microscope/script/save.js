// Pictures and tables as SVG, PNG and CSV files, with their settings.

import { css, isLight } from "./colours.js";
import { STRINGS } from "./strings.js";

/** @typedef {import("./views/pictures.js").Picture} Picture */
/** @typedef {import("./views/panels.js").Panel} Panel */

const [INK, PAPER] = ["#14181f", "#ffffff"];
const CELL = 22;
const MARGIN = 24;
const QUERY_FRAME = "#d0006f"; // in no colour scale, visible on every cell
const MAX_LENGTH = 30; // letters of a name; the cell's title and the CSV have the whole name
const LETTER = 6; // pixels of a letter beside a panel
const LINE = 18;
const SMALL_CELL = 9; // with many panels
const BAR = { width: 240, height: 12, above: 14, whole: 56, apart: 80 }; // of a scale: pixels
const STOPS = 16; // of a scale's ramp
const SHARPNESS = 2; // pixels of the PNG per unit of the SVG

/**
 * @param {Picture} picture
 * @returns {string}
 */
export function toSvg({ title, facts, panels, columns, scales }) {
  const cell = panels.length > 3 ? SMALL_CELL : CELL;
  const sizes = panels.map((panel) => sizeOf(panel, cell));
  const wide = Math.max(...sizes.map((size) => size.wide));
  const rows = Array.from({ length: Math.ceil(panels.length / columns) }, (_, row) =>
    Math.max(...sizes.slice(row * columns, (row + 1) * columns).map((size) => size.high)),
  );
  const under = MARGIN + LINE * (facts.length + 1);
  const top = under + BAR.whole;
  const width = Math.max(columns * wide + MARGIN, 720);
  const height = top + sumOf(rows) + MARGIN;
  const lines = [
    text(MARGIN, MARGIN, title, "bold 15px"),
    ...facts.map(([name, value], i) => text(MARGIN, MARGIN + LINE * (i + 1), `${name}: ${value}`, "12px")),
  ];
  const bars = scales.map((scale, i) => scaleSvg(scale, `scale-${i}`, MARGIN + i * (BAR.width + BAR.apart), under));
  const drawn = panels.map((panel, i) =>
    panelSvg(panel, MARGIN + (i % columns) * wide, top + sumOf(rows.slice(0, Math.floor(i / columns))), cell),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="${PAPER}"/>`,
    ...lines,
    ...bars,
    ...drawn,
    "</svg>",
  ].join("\n");
}

/**
 * One line per number: panel, query token, key token, value; settings as comments before them.
 * @param {Picture} picture
 */
export function toCsv({ title, facts, panels }) {
  const axes = panels.map((panel) => panel.axes ?? [STRINGS.export.queryToken, STRINGS.export.keyToken]);
  const [first, second] = new Set(axes.map(String)).size === 1 ? axes[0] : STRINGS.export.axes;
  const head = [title, ...facts.map(([name, value]) => `${name}: ${value}`)].map((line) => `# ${line}`);
  const lines = panels.flatMap(({ name, rows, columns, values }) => {
    const [down, across] = [rows, columns].map(distinct);
    return Array.from(values, (value, i) => {
      const [row, column] = [down[Math.floor(i / across.length)], across[i % across.length]];
      return [quoted(name), inCell(row), inCell(column), String(value)].join(",");
    });
  });
  return [...head, `panel,${first},${second},${STRINGS.export.value}`, ...lines, ""].join("\r\n");
}

/** Names that occur twice get their positions. @param {string[]} names */
function distinct(names) {
  return new Set(names).size < names.length ? names.map((one, i) => `${one} (${i + 1})`) : names;
}

/** @param {Picture} picture */
export async function saveSvg(picture) {
  return save(`${picture.file}.svg`, new Blob([toSvg(picture)], { type: "image/svg+xml" }));
}

/** @param {Picture} picture */
export async function saveCsv(picture) {
  return save(`${picture.file}.csv`, new Blob([toCsv(picture)], { type: "text/csv;charset=utf-8" }));
}

/** @param {Picture} picture */
export async function savePng(picture) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(toSvg(picture))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width * SHARPNESS;
  canvas.height = image.height * SHARPNESS;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  /** @type {Blob} */
  const blob = await new Promise((give, fail) => {
    canvas.toBlob((made) => (made ? give(made) : fail(new Error("no PNG could be made"))));
  });
  return save(`${picture.file}.png`, blob);
}

/**
 * @param {string} name
 * @param {Blob} content
 */
function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return name;
}

/**
 * The size of a panel with names and margin.
 * @param {Panel} panel
 * @param {number} usual side of a cell
 */
function sizeOf({ rows, columns, cell: own }, usual) {
  const cell = own ?? usual;
  return {
    wide: columns.length * cell + roomFor(rows) + MARGIN,
    high: rows.length * cell + roomFor(columns) + MARGIN + LINE,
  };
}

/**
 * @param {Panel} panel
 * @param {number} left
 * @param {number} top
 * @param {number} usual side of a cell
 */
function panelSvg({ name, rows, columns, values, colourOf, textOf, queryToken, cell: own }, left, top, usual) {
  const cell = own ?? usual;
  const count = columns.length;
  const start = [left + roomFor(rows), top + LINE + roomFor(columns) - MARGIN / 2];
  const drawn = Array.from(values, (value, i) => {
    const [row, column] = [Math.floor(i / count), i % count];
    const [x, y] = [start[0] + column * cell, start[1] + row * cell];
    const colour = colourOf(value);
    const title = `<title>${escaped(`${rows[row]} → ${columns[column]}: ${value}`)}</title>`;
    const words = cell < CELL ? "" : (textOf?.(value) ?? "");
    return {
      rect: `<rect x="${x}" y="${y}" width="${cell}" height="${cell}" fill="${css(colour)}">${title}</rect>`,
      words: words && text(x + 0.5 * cell, y + 0.68 * cell, words, "9px", "middle", isLight(colour) ? INK : PAPER),
    };
  });
  const marks = [
    ...columns.map((mark, i) => columnMark(start[0] + (i + 0.5) * cell, start[1] - 4, mark)),
    ...rows.map((mark, i) => text(start[0] - 5, start[1] + (i + 0.65) * cell, shortened(mark), "10px", "end")),
  ];
  return [
    "<g>",
    text(left, top + 8, name, "12px"),
    ...drawn.map(({ rect }) => rect),
    ...drawn.map(({ words }) => words),
    ...(cell < CELL ? [] : marks),
    "</g>",
    queryToken === undefined ? "" : queryFrame(start[0], start[1] + queryToken * cell, count * cell, cell),
  ].join("");
}

/**
 * A frame around the query token's row.
 * @param {number} x
 * @param {number} y
 * @param {number} wide
 * @param {number} high
 */
function queryFrame(x, y, wide, high) {
  return `<path d="M${x} ${y}h${wide}v${high}h${-wide}z" fill="none" stroke="${QUERY_FRAME}" stroke-width="2"/>`;
}

/**
 * The ramp, with its marks and its note.
 * @param {import("./scales.js").Scale} scale
 * @param {string} id
 * @param {number} left
 * @param {number} top
 */
function scaleSvg({ colourAt, marks, note }, id, left, top) {
  const stops = Array.from(
    { length: STOPS + 1 },
    (_, i) => `<stop offset="${i / STOPS}" stop-color="${css(colourAt(i / STOPS))}"/>`,
  );
  const under = top + BAR.height + BAR.above;
  return [
    `<linearGradient id="${id}">${stops.join("")}</linearGradient>`,
    `<rect x="${left}" y="${top}" width="${BAR.width}" height="${BAR.height}" fill="url(#${id})"/>`,
    ...marks.map(({ place, text: words }) => text(left + place * BAR.width, under, words, "10px", "middle")),
    text(left, under + BAR.above, note, "10px"),
  ].join("");
}

/** The width that the names of rows and columns need. @param {readonly string[]} names */
function roomFor(names) {
  return Math.max(MARGIN, LETTER * Math.max(...names.map((name) => shortened(name).length)) + 10);
}

/** @param {string} name */
function shortened(name) {
  return name.length > MAX_LENGTH ? `${name.slice(0, MAX_LENGTH - 1)}…` : name;
}

/** @param {number[]} numbers */
function sumOf(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0);
}

/**
 * The name of a column; a long one is rotated.
 * @param {number} x
 * @param {number} y
 * @param {string} mark
 */
function columnMark(x, y, mark) {
  if (mark.length <= 2) return text(x, y, mark, "10px", "middle");
  return `<g transform="translate(${x + 3} ${y}) rotate(-90)">${text(0, 0, shortened(mark), "10px")}</g>`;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} words
 * @param {string} font
 * @param {string} anchor
 * @param {string} colour
 */
function text(x, y, words, font, anchor = "start", colour = INK) {
  const [weight, size] = font.includes(" ") ? font.split(" ") : ["normal", font];
  return `<text x="${x}" y="${y}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" fill="${colour}">${escaped(words)}</text>`;
}

/** @param {string} words */
function escaped(words) {
  return words.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** Quoted where it has a comma or a quote. @param {string} words */
function inCell(words) {
  return /[",]/.test(words) ? quoted(words) : words;
}

/** @param {string} words */
function quoted(words) {
  return `"${words.replace(/"/g, '""')}"`;
}
