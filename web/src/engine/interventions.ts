// Changes of the forward pass and of its input, for experiments.

import type { Config } from "./config";
import { patchOf } from "./patches";

/** No change: the model as it was trained. */
export const TRAINED = {
  temperature: 1, // divides the scores, in addition to √d_k
  positions: true,
  removed: [] as number[], // heads, layer by layer
  reversed: false, // whether the chosen layer has its values in reverse order of the tokens
  layer: 0, // the chosen one
  masked: [] as number[], // tokens that no query attends to
};

export type Switches = typeof TRAINED;

/** The temperature that cancels √d_k: with T = 1/√d_k the factor on the scores is 1. */
export function unscaledTemperature({ headDim }: { headDim: number }): number {
  return 1 / Math.sqrt(headDim);
}

/** An order of the patches, determined by the seed; 0 leaves them in place. */
export function shuffledOrder(count: number, seed: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  if (seed === 0) return order;
  const random = randomNumbers(seed);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Ink with normal noise of this deviation in some patches, clipped to 0 … 1. */
export function noisy(ink: Float64Array, config: Config, patches: number[], deviation: number): Float64Array {
  if (patches.length === 0 || deviation === 0) return ink;
  const random = randomNumbers(1);
  return ink.map((value, i) => {
    const draw = normal(random); // drawn for every pixel, so that the noise of a patch depends on no other patch
    return patches.includes(patchOf(i, config)) ? Math.min(1, Math.max(0, value + deviation * draw)) : value;
  });
}

/** Box and Muller 1958. */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Numbers from 0 up to 1: a linear congruential generator (Park and Miller 1988). */
function randomNumbers(seed: number): () => number {
  let state = (seed * 16807) % 2147483647;
  const next = (): number => {
    state = (state * 48271) % 2147483647;
    return (state - 1) / 2147483646;
  };
  for (let i = 0; i < 3; i++) next(); // the first numbers of close seeds are similar
  return next;
}
