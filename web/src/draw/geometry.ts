// Shapes of figures: arcs between patches, and names of tokens.

import type { Config } from "../engine/config";
import { placeOf } from "../engine/patches";

export interface Arc {
  token: number; // the key token
  path: string; // of an SVG path; empty for the query token itself
  width: number; // in percent of a patch
  weight: number;
  end: [number, number]; // middle of the key patch, in patches
}

const MAX_WIDTH = 0.26; // of a patch, for a weight of 1
const MIN_WIDTH = 0.012;

/** Arcs from a query patch to the key patches with at least `from` of the weight; units are patches. */
export function arcs(query: number, weights: ArrayLike<number>, config: Config, from: number): Arc[] {
  const start = middle(query, config);
  return Array.from(weights, (weight, token) => ({ weight, token }))
    .filter(({ weight, token }) => weight >= from && token >= config.numPrefixTokens)
    .sort((a, b) => a.weight - b.weight)
    .map(({ weight, token }) => {
      const end = middle(token, config);
      return { token, weight, end, path: curve(start, end), width: Math.max(MIN_WIDTH, MAX_WIDTH * weight) };
    });
}

/** Middle of a token's patch in patches; the class token is in the last corner. */
export function middle(token: number, config: Config): [number, number] {
  const place = placeOf(token, config);
  return place === null ? [config.grid[1] - 0.25, config.grid[0] - 0.12] : [place[1] + 0.5, place[0] + 0.5];
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

/** "patch 11", counted from 1, or "class token". */
export function tokenName(token: number, { numPrefixTokens }: Pick<Config, "numPrefixTokens">): string {
  return token < numPrefixTokens ? "class token" : `patch ${token - numPrefixTokens + 1}`;
}

/** "11", or "C" for the class token. */
export function tokenShort(token: number, { numPrefixTokens }: Pick<Config, "numPrefixTokens">): string {
  return token < numPrefixTokens ? "C" : String(token - numPrefixTokens + 1);
}

/** "L3 H2", counted from 1. */
export function headName(layer: number, head: number): string {
  return `L${layer + 1} H${head + 1}`;
}
