// The numbers that the page shows: of a drawing or picture, and of the examples, for the self-check.

import type { Payload } from "../data/payload";
import { largestDifference } from "../engine/arithmetic";
import type { Config } from "../engine/config";
import { noisy, shuffledOrder, TRAINED } from "../engine/interventions";
import { blankPatches, normalize, reorderPatches } from "../engine/patches";
import type { Prediction } from "../engine/predict";
import { encode, forwardText, wordLogits, type TextModel } from "../engine/text";
import { forward, lens, type Model, type Run } from "../engine/vit";
import { WARNINGS } from "../preprocess/digits";
import { predictionFor } from "../preprocess/picture";
import { rasterise } from "../preprocess/raster";
import { digitsOf, isTooSmall, type Stroke } from "../preprocess/strokes";
import type { State } from "./state";

export interface Result {
  inputs: Float64Array[]; // one model input for each digit, 0 to 1, without noise and shuffling
  predictions: Prediction[]; // of all digits
  digit: number; // the digit that is followed
  prediction: Prediction | null; // of it; null without a digit, as run
  ink: Float64Array; // its model input, with noise and shuffling
  blank: boolean[]; // which patches are blank
  run: Run | null;
  lens: number[][]; // probabilities after layer 0, 1, …
}

export function compute(model: Model, state: State): Result {
  const { config } = model;
  const inputs = inputsOf(state, config);
  const inks = inputs.map((input) => changedInput(input, state, config));
  const runs = inks.map((ink) => forward(model, normalize(ink, config), state));
  const predictions = runs.map(({ logits }, i) => predictionFor(logits, inks[i], config, warningsOf(state, i)));
  const digit = Math.max(0, Math.min(state.digit, inputs.length - 1));
  const run = runs[digit] ?? null;
  const ink = inks[digit] ?? new Float64Array(config.inChannels * config.imageShape[0] * config.imageShape[1]);
  return {
    inputs,
    predictions,
    digit,
    prediction: predictions[digit] ?? null,
    ink,
    blank: blankPatches(ink, config),
    run,
    lens: run ? lens(model, run) : [],
  };
}

/** Reasons to doubt an image of an uploaded picture. */
function warningsOf({ images, doubts }: State, image: number): number[] {
  const first = image * WARNINGS.length;
  return images.length ? [...WARNINGS.keys()].filter((warning) => doubts.includes(first + warning)) : [];
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
  const reversed = state.reversed && state.layer;
  return [strokes, images.length ? images : null, digit, centred, temperature, positions, seed, noise, reversed, ...lists];
}

const ALLOWED = 1e-5; // from PyTorch's logits

export interface Examples {
  computed: number; // drawings
  difference: number; // the largest from PyTorch's logits so far, of drawings and texts
  failed: boolean;
}

/** The computations for examples and texts, one piece for each. */
export function planExamples(model: Model, textModel: TextModel, payload: Payload) {
  const examples: Examples = { computed: 0, difference: 0, failed: false };
  const check = (logits: ArrayLike<number>, expected: number[]): void => {
    const difference = largestDifference(logits, expected);
    examples.difference = Math.max(examples.difference, difference); // NaN stays
    examples.failed ||= !(difference <= ALLOWED);
  };
  const texts = payload.text.checks.map(({ text, logits }) => () => {
    const { ids } = encode(text, textModel.placeOf);
    check(wordLogits(textModel, forwardText(textModel, ids), ids.length - 1), logits);
  });
  const drawings = payload.examples.map(({ strokes }, i) => () => {
    check(forward(model, normalize(inkOf(strokes, model.config), model.config), TRAINED).logits, payload.logits[i]);
    examples.computed++;
  });
  return { examples, pieces: [...texts, ...drawings] };
}

const MIN_REMAINING = 8; // milliseconds for another piece

interface Deadline {
  timeRemaining: () => number;
}

/** Runs the pieces one after the other in idle slices; calls `rest` after each slice with the number of those done. Returns a function that stops. */
export function whenIdle(pieces: (() => void)[], rest: (done: number) => void): () => void {
  let next = 0;
  let stopped = false;
  const slice = (deadline: Deadline): void => {
    if (stopped) return;
    do pieces[next++]();
    while (next < pieces.length && deadline.timeRemaining() > MIN_REMAINING);
    rest(next);
    if (next < pieces.length) later(slice);
  };
  if (pieces.length > 0) later(slice);
  return () => {
    stopped = true;
  };
}

function later(work: (deadline: Deadline) => void): void {
  if ("requestIdleCallback" in globalThis) requestIdleCallback(work, { timeout: 200 });
  else setTimeout(() => work({ timeRemaining: () => 0 }), 16);
}
