// The data of an explanation, as clearhead.explanation.page writes it.

import { bytesOf } from "../data/payload";
import type { Layout } from "../draw/geometry";
import type { Size } from "../engine/config";

export interface PictureData {
  kind: "picture";
  name: string; // of the picture
  model: string;
  address: string; // of the model input, a data: URL
  original: string; // the picture before preprocessing; empty if it is the model input
  ink: string; // the model input as bytes in base64 if it is ink on a ground, else empty
  channels: number;
  status: "confident" | "doubtful" | "rejected";
  warnings: string[];
  classes: [string, number][]; // all, or those with the largest probabilities
  numClasses: number;
  omissions: string; // what the page leaves out
  reasons: Record<MeasureName, string>; // why a measure is not available
  correlations: [MeasureName, MeasureName, number][]; // Spearman's, over the patches
  verifications: [string, number, number, number, number][]; // layer, three errors, tolerance
  picture: { width: number; height: number; ink: boolean; blank: boolean[] };
  grid: { rows: number; columns: number; prefix: string[] } | null;
  names: string[]; // of all attention layers
  layers: Layer[]; // those that are kept
  start: { query: number; layer: number; head: number };
  influence: Record<MeasureName, { values: number[] | null }>;
}

export type MeasureName = "rollout" | "relevance" | "shapley" | "masking";

export interface Layer {
  name: string;
  windows: number;
  heads: number;
  keys: number;
  num_queries: number;
  queries: number[]; // those whose weights are kept
  on_grid: boolean; // whether the keys are the tokens of the grid
  offset: number; // of its first weight
}

export interface TextData {
  kind: "text";
  text: string;
  model: string;
  description: string;
  tokens: string[];
  queries: number[]; // the explained tokens
  attention: { label: string; layer: string; head: string; weights: number[][]; visible: boolean[][] }[];
  heads: string; // which heads the weights are of
  verified: number; // layers whose weights were verified
  warnings: string[];
  prediction: { question: string; words: [string, number][] } | null;
}

const ONE = 65535; // stands for a weight of 1

/** All weights, layer after layer, from 16-bit numbers. */
export function readWeights(base64: string): Float64Array {
  return Float64Array.from(new Uint16Array(bytesOf(base64).buffer), (number) => number / ONE);
}

/** How the tokens of a layer are arranged: as in the picture if they are its patches, else in a square. */
export function layoutOf(data: PictureData, layer: Pick<Layer, "keys" | "on_grid">): Layout {
  const imageShape: Size = [data.picture.height, data.picture.width];
  if (data.grid && layer.on_grid) {
    const { rows, columns, prefix } = data.grid;
    return { grid: [rows, columns], imageShape, inChannels: data.channels, tokens: layer.keys, numPrefixTokens: prefix.length, prefixNames: prefix };
  }
  const columns = Math.ceil(Math.sqrt(layer.keys));
  const grid: Size = [Math.ceil(layer.keys / columns), columns];
  return { grid, imageShape: grid, inChannels: data.channels, tokens: layer.keys, numPrefixTokens: 0, noun: "token" };
}

/** The place among the kept queries of the one nearest to this. */
export function nearestPlace({ queries }: Layer, query: number): number {
  const distances = queries.map((kept) => Math.abs(kept - query));
  return distances.indexOf(Math.min(...distances));
}

/** Whether queries and keys are the same tokens. */
export function isSquare(layer: Layer): boolean {
  return layer.num_queries === layer.keys;
}
