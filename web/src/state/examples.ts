// The example drawings, computed once: for the self-check, and for the mean measures of heads.

import type { Payload } from "../data/payload";
import { largestDifference } from "../engine/arithmetic";
import { TRAINED } from "../engine/interventions";
import { meanMeasures, measureHead, type Measures } from "../engine/maps";
import { blankPatches, normalize } from "../engine/patches";
import { encode, forwardText, wordLogits, type TextModel } from "../engine/text";
import { forward, type Model, type Run } from "../engine/vit";
import { inkOf } from "./result";

const ALLOWED = 1e-5; // from PyTorch's logits

export interface Examples {
  runs: { label: string; ink: Float64Array; blank: boolean[]; run: Run }[];
  difference: number; // the largest from PyTorch's logits so far, of drawings and texts
  done: boolean;
  failed: boolean;
}

/** The work in pieces of one example or text. */
export function planExamples(model: Model, textModel: TextModel, payload: Payload) {
  const examples: Examples = { runs: [], difference: 0, done: false, failed: false };
  const check = (logits: ArrayLike<number>, expected: number[]): void => {
    const difference = largestDifference(logits, expected);
    examples.difference = Math.max(examples.difference, difference); // NaN stays
    examples.failed ||= !(difference <= ALLOWED);
  };
  const texts = payload.text.checks.map(({ text, logits }) => () => {
    const { ids } = encode(text, textModel.placeOf);
    check(wordLogits(textModel, forwardText(textModel, ids), ids.length - 1), logits);
  });
  const drawings = payload.examples.map(({ label, strokes }, i) => () => {
    const ink = inkOf(strokes, model.config);
    const run = forward(model, normalize(ink, model.config), TRAINED);
    examples.runs.push({ label, ink, blank: blankPatches(ink, model.config), run });
    check(run.logits, payload.logits[i]);
    examples.done = examples.runs.length === payload.examples.length;
  });
  return { examples, pieces: [...texts, ...drawings] };
}

/** The mean measures of each head over the examples, layer by layer. */
export function usualMeasures({ runs }: Examples, { config }: Model): Measures[] {
  return Array.from({ length: config.depth * config.numHeads }, (_, i) => {
    const [layer, head] = [Math.floor(i / config.numHeads), i % config.numHeads];
    return meanMeasures(runs.map(({ run, blank }) => measureHead(run.layers[layer].heads[head].weights, config, blank)));
  });
}
