// The page's data: one block of JSON, and weights in half precision (IEEE 754 binary16) and base64.

import type { Tensors } from "../engine/encoder";
import { weightArray } from "../engine/product";
import type { Stroke } from "../preprocess/strokes";

export interface TensorName {
  name: string;
  shape: number[];
}

export interface Payload {
  name: string; // of the model
  version: string; // of Clearhead
  settings: object; // a ViTConfig
  tensors: TensorName[];
  examples: { label: string; strokes: Stroke[] }[];
  logits: number[][]; // of the examples, by PyTorch in double precision
  accuracy: { correct: number; total: number; full: number } | null; // with rounded weights
  roles: string[] | null; // of each head, by clearhead.insight.head_roles; null if not measured
  pictures: { label: string; image: Uint8Array }[]; // examples of a model that does not read digits
  text: {
    name: string;
    settings: object; // a TextConfig
    tensors: TensorName[];
    checks: { text: string; logits: number[] }[]; // logits of the last word, as above
  };
}

export function readPayload(page: Document): Payload {
  const payload = JSON.parse(page.getElementById("payload")?.textContent ?? "");
  const pictures = payload.pictures.map(({ label, image }: { label: string; image: string }) => ({
    label,
    image: bytesOf(image),
  }));
  return { ...payload, pictures };
}

export function countWeights(tensors: TensorName[]): number {
  return tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
}

function sizeOf(shape: number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** All tensors by name, from the text of an element of the page. */
export function readTensors(base64: string, names: TensorName[]): Tensors {
  const bytes = bytesOf(base64);
  const count = countWeights(names);
  if (2 * count !== bytes.length) throw new Error(`weights: expected ${2 * count} bytes, got ${bytes.length}`);
  const all = weightArray(count);
  for (let i = 0; i < count; i++) all[i] = HALVES[bytes[2 * i] + 256 * bytes[2 * i + 1]];
  let place = 0;
  return new Map(names.map(({ name, shape }) => [name, all.subarray(place, (place += sizeOf(shape)))]));
}

/** The value of each of the 65,536 half-precision numbers. */
const HALVES = Float64Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

export function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64.trim()), (sign) => sign.charCodeAt(0));
}

export function base64Of(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
