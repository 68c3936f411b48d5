// Shapes of figures: arcs between patches, and names of tokens.

import type { Size } from "../engine/config";
import { placeOf } from "../engine/patches";

/** What figures need to know of the tokens; a model's configuration has it. */
export interface Layout {
  grid: Size; // rows and columns of patches
  imageShape: Size;
  inChannels: number;
  tokens: number;
  numPrefixTokens: number;
  prefixNames?: string[]; // by default "class token"
  noun?: string; // of a token after these; by default "patch"
}

export interface Arc {
  token: number; // the key token
  path: string; // of an SVG path; empty for the query token itself
  width: number; // in percent of a patch
  weight: number;
  end: [number, number]; // middle of the key patch, in patches
}

const MAX_WIDTH = 0.26; // of a patch, for a weight of 1
const MIN_WIDTH = 0.012;
const MAX_ARCS = 24;
const MAX_NUMBERED = 65; // the numbers of more patches do not fit into a picture

/** Arcs from a query to the patches with most weight, each at least `from`; units are patches. */
export function arcs(query: number, weights: ArrayLike<number>, config: Layout, from: number): Arc[] {
  const start = middle(query, config);
  return Array.from(weights, (weight, token) => ({ weight, token }))
    .filter(({ weight, token }) => weight >= from && token >= config.numPrefixTokens)
    .sort((a, b) => a.weight - b.weight)
    .slice(-MAX_ARCS)
    .map(({ weight, token }) => {
      const end = middle(token, config);
      return { token, weight, end, path: curve(start, end), width: Math.max(MIN_WIDTH, MAX_WIDTH * weight) };
    });
}

/** Middle of a token's patch in patches; tokens before the patches are above the picture. */
export function middle(token: number, config: Layout): [number, number] {
  const place = placeOf(token, config);
  if (place) return [place[1] + 0.5, place[0] + 0.5];
  return [((token + 0.5) * config.grid[1]) / prefixColumns(config), 0];
}

/** The columns of the line of tokens above the picture. */
export function prefixColumns({ numPrefixTokens }: Layout): number {
  return Math.max(4, numPrefixTokens);
}

/** Whether there are too many patches to write into each. */
export function isDense({ grid }: Pick<Layout, "grid">): boolean {
  return grid[0] * grid[1] > MAX_NUMBERED;
}

/** A bent line that ends a little before the middle of the key patch. */
function curve([x0, y0]: [number, number], [x1, y1]: [number, number]): string {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = Math.hypot(dx, dy);
  if (length === 0) return "";
  const bend = 0.16 + 0.05 / length;
  const [cx, cy] = [x0 + dx / 2 - dy * bend, y0 + dy / 2 + dx * bend];
  return `M${round(x0)} ${round(y0)}Q${round(cx)} ${round(cy)} ${round(x1)} ${round(y1)}`;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

type Names = Pick<Layout, "numPrefixTokens"> & Partial<Layout>;

/** "patch 11", counted from 1, with its row and column where patches have no number; "class token". */
export function tokenName(token: number, { numPrefixTokens, prefixNames, noun = "patch", grid }: Names): string {
  const patch = token - numPrefixTokens;
  if (patch < 0) return prefixNames?.[token] ?? "class token";
  if (!grid || noun !== "patch" || !isDense({ grid })) return `${noun} ${patch + 1}`;
  return `patch ${patch + 1} (row ${Math.floor(patch / grid[1]) + 1}, column ${(patch % grid[1]) + 1})`;
}

/** "11"; "C" for the class token, "R2" for register 2. */
export function tokenShort(token: number, names: Names): string {
  if (token >= names.numPrefixTokens) return String(token - names.numPrefixTokens + 1);
  const name = tokenName(token, names);
  return name[0].toUpperCase() + (/\d+$/.exec(name)?.[0] ?? "");
}

/** "L3 H2", counted from 1. */
export function headName(layer: number, head: number): string {
  return `L${layer + 1} H${head + 1}`;
}
