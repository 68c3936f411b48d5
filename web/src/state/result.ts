// From a drawing or picture to the forward pass: the numbers that the page shows.

import type { Config } from "../engine/config";
import { noisy, shuffledOrder } from "../engine/interventions";
import { blankPatches, normalize, reorderPatches } from "../engine/patches";
import { predictionOf, type Prediction } from "../engine/predict";
import { forward, lens, type Model, type Run } from "../engine/vit";
import { WARNINGS } from "../preprocess/digits";
import { rasterise } from "../preprocess/raster";
import { digitsOf, isTooSmall, type Stroke } from "../preprocess/strokes";
import type { State } from "./state";

export interface Result {
  status: "empty" | "small" | "computed";
  inputs: Float64Array[]; // one model input for each digit, 0 to 1, without noise and shuffling
  predictions: Prediction[]; // of all digits
  digit: number; // the digit that is followed
  prediction: Prediction | null; // of it; null without a drawing, as run
  ink: Float64Array; // its model input, with noise and shuffling
  blank: boolean[]; // which patches are blank
  run: Run | null;
  lens: number[][]; // probabilities after layer 0, 1, …
}

export function compute(model: Model, state: State): Result {
  const { config } = model;
  const inputs = inputsOf(state, config);
  const digit = Math.min(state.digit, inputs.length - 1);
  if (inputs.length === 0) {
    const ink = new Float64Array(config.inChannels * config.imageShape[0] * config.imageShape[1]);
    const status = state.strokes.length ? "small" : "empty";
    return { status, inputs, predictions: [], digit: 0, prediction: null, ink, blank: blankPatches(ink, config), run: null, lens: [] };
  }
  const inks = inputs.map((input) => changedInput(input, state, config));
  const runs = inks.map((ink) => forward(model, normalize(ink, config), state));
  const predictions = runs.map(({ logits }, i) => predictionOf(logits, inks[i], config, warningsOf(state, i)));
  return {
    status: "computed",
    inputs,
    predictions,
    digit,
    prediction: predictions[digit],
    ink: inks[digit],
    blank: blankPatches(inks[digit], config),
    run: runs[digit],
    lens: lens(model, runs[digit]),
  };
}

/** Reasons to doubt an image of an uploaded picture. */
function warningsOf({ images, doubts }: State, image: number): string[] {
  const first = image * WARNINGS.length;
  return images.length ? WARNINGS.filter((_, i) => doubts.includes(first + i)) : [];
}

/** The model inputs of the picture, or else of each digit of the drawing. */
function inputsOf(state: State, config: Config): Float64Array[] {
  if (state.images.length) return state.images.map((image) => Float64Array.from(image, (byte) => byte / 255));
  if (isTooSmall(state.strokes)) return [];
  const digits = config.readsDigits && state.centred ? digitsOf(state.strokes) : [state.strokes];
  return digits.map((strokes) => inkOf(strokes, config, state.centred));
}

/** The ink of a drawing, the same in all channels. */
export function inkOf(strokes: Stroke[], { imageShape, inChannels }: Config, centred = true): Float64Array {
  const ink = rasterise(strokes, imageShape, centred);
  return Float64Array.from({ length: inChannels * ink.length }, (_, i) => ink[i % ink.length]);
}

function changedInput(input: Float64Array, { noisyPatches, noise, seed }: State, config: Config): Float64Array {
  const speckled = noisy(input, config, noisyPatches, noise);
  return seed === 0 ? speckled : reorderPatches(speckled, config, shuffledOrder(config.patches, seed));
}

const KEPT = 6; // results, of 0.4 MB each

/** `compute` with a small cache: several views need the same results. */
export function cachedCompute(model: Model): (state: State) => Result {
  let remembered: { parts: unknown[]; result: Result }[] = [];
  return (state) => {
    const parts = partsThatCount(state);
    const known = remembered.find((one) => one.parts.every((part, i) => part === parts[i]));
    const found = known ?? { parts, result: compute(model, state) };
    remembered = [found, ...remembered.filter((one) => one !== found)].slice(0, KEPT);
    return found.result;
  };
}

/** The cache's key: all that a result depends on. */
function partsThatCount(state: State): unknown[] {
  const { strokes, images, digit, centred, temperature, positions, seed, noise } = state;
  const lists = [state.doubts, state.removed, state.masked, state.noisyPatches].map(String);
  const local = state.values !== "trained" || (state.masked.length > 0 && state.scope !== "model");
  const place = local ? [state.layer, state.head, state.values, state.scope] : ["", "", "", ""];
  return [strokes, images.length ? images : null, digit, centred, temperature, positions, seed, noise, ...lists, ...place];
}
