// The digit with its arcs, and the matrix of weights, as one SVG that stands alone.

import { css, shareColour, weightColour, type ScaleMode } from "./colours";
import { inkColour } from "./canvas";
import { arcs, headName, middle, tokenName, tokenShort } from "./geometry";
import { decimal, exactPercent, percent } from "./numbers";
import { argmax } from "../engine/arithmetic";
import type { Config } from "../engine/config";

export interface FigureData {
  config: Config;
  ink: Float64Array;
  weights: Float64Array; // of the head
  layer: number;
  head: number;
  query: number;
  scale: ScaleMode;
  prediction: string;
  changes: string[];
}

const SIDE = 280;
const GAP = 40;
const TOP = 58;

export function figure(data: FigureData): string {
  const { config, layer, head, query, weights, scale, changes, prediction } = data;
  const { tokens } = config;
  const row = weights.subarray(query * tokens, (query + 1) * tokens);
  const even = 1 / tokens;
  const high = (SIDE * config.imageShape[0]) / config.imageShape[1];
  const best = argmax(row);
  const title = `${headName(layer, head)}: ${tokenName(query, config)} attends most to ${tokenName(best, config)}, ${percent(row[best])}`;
  const notes = [
    prediction,
    `${changes.length ? `changed: ${changes.join(", ")}` : "trained model"}; weights ${scaleWords(scale, weights)}; uniform weight ${exactPercent(even)}; rows are queries, columns keys`,
  ];
  const height = TOP + Math.max(high, SIDE) + 52;
  const width = 2 * SIDE + 2 * GAP + 20;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="11">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(20, 28, title, 'font-size="16" font-weight="600"'),
    ...notes.map((note, i) => text(20, 46 + (i === 0 ? 0 : height - 62), note, 'fill="#555c68"')),
    `<g transform="translate(20 ${TOP})">${digit(data, row, SIDE, high)}</g>`,
    `<g transform="translate(${20 + SIDE + GAP} ${TOP})">${matrix(data)}</g>`,
    "</svg>",
  ].join("\n");
}

function digit({ config, ink, query }: FigureData, row: Float64Array, wide: number, high: number): string {
  const [rows, columns] = config.imageShape;
  const [unitX, unitY] = [wide / columns, high / rows];
  const pixels = Array.from({ length: rows * columns }, (_, i) => {
    const colour = css(inkColour(ink, i, config));
    return rectangle(i, columns, [unitX, unitY], colour);
  });
  const [patchX, patchY] = [wide / config.grid[1], high / config.grid[0]];
  const names = Array.from({ length: config.patches }, (_, patch) =>
    text((patch % config.grid[1]) * patchX + 4, Math.floor(patch / config.grid[1]) * patchY + 13, String(patch + 1), 'fill="#c9d1dc"'),
  );
  const lines = Array.from({ length: config.grid[1] - 1 }, (_, i) => `M${cut((i + 1) * patchX)} 0V${high}`)
    .concat(Array.from({ length: config.grid[0] - 1 }, (_, i) => `M0 ${cut((i + 1) * patchY)}H${wide}`))
    .join("");
  const drawn = arcs(query, row, config, 1 / config.tokens / 2).map(({ path, end, width, weight }) => {
    const colour = css(shareColour(Math.max(weight, 0.16)));
    const percentage = weight >= 1.6 / config.tokens ? `<text x="${end[0]}" y="${end[1] + 0.4}" font-size="0.17" text-anchor="middle" fill="#ffffff">${decimal(weight * 100, 0)}%</text>` : "";
    return `${path && `<path d="${path}" fill="none" stroke="${colour}" stroke-width="${width}" stroke-linecap="round"/>`}<circle cx="${end[0]}" cy="${end[1]}" r="${Math.max(0.05, width * 0.72)}" fill="${colour}"/>${percentage}`;
  });
  const [x, y] = middle(query, config);
  return [
    ...pixels,
    `<path d="${lines}" stroke="#ffffff" stroke-opacity=".25" fill="none"/>`,
    ...names,
    `<g transform="scale(${patchX} ${patchY})">${drawn.join("")}<circle cx="${x}" cy="${y}" r="0.13" fill="none" stroke="#ffffff" stroke-width="0.05"/></g>`,
  ].join("");
}

function matrix({ config, weights, scale, query }: FigureData): string {
  const { tokens } = config;
  const cell = SIDE / tokens;
  const largest = Math.max(...weights);
  const cells = Array.from(weights, (weight, i) => {
    const colour = css(weightColour(weight, scale, 1 / tokens, largest));
    return rectangle(i, tokens, [cell, cell], colour);
  });
  const names =
    tokens > 20
      ? []
      : Array.from({ length: tokens }, (_, i) => {
          const name = tokenShort(i, config);
          return text(-5, (i + 0.7) * cell, name, 'text-anchor="end"') + text((i + 0.5) * cell, SIDE + 13, name, 'text-anchor="middle"');
        });
  return [...cells, ...names, `<rect y="${cut(query * cell)}" width="${SIDE}" height="${cut(cell)}" fill="none" stroke="#ffffff" stroke-width="2"/>`].join("");
}

/** Cell i of a grid; it overlaps the next one a little, so that no gap shows. */
function rectangle(i: number, columns: number, [wide, high]: [number, number], colour: string): string {
  const place = `x="${cut((i % columns) * wide)}" y="${cut(Math.floor(i / columns) * high)}"`;
  return `<rect ${place} width="${cut(wide + 0.2)}" height="${cut(high + 0.2)}" fill="${colour}"/>`;
}

function scaleWords(scale: ScaleMode, weights: Float64Array): string {
  if (scale === "even") return "as multiples of the uniform weight";
  return scale === "stretched" ? `stretched to ${percent(Math.max(...weights))}` : "from 0 to 100 %";
}

function text(x: number, y: number, content: string, attributes = ""): string {
  return `<text x="${cut(x)}" y="${cut(y)}" ${attributes}>${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function cut(value: number): number {
  return Math.round(value * 100) / 100;
}
