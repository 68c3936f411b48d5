// The largest weight of the query token, in one sentence, and the effect of masking its key.

import { argmax } from "../arithmetic.js";
import { el, setText } from "../element.js";
import { STRINGS } from "../strings.js";
import { predictedClass, chosenHead, rowOf, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createSentence(app) {
  const element = el("p", { class: "sentence" });
  return {
    element,
    update: () => {
      element.hidden = app.result.run === null;
      setText(element, sentenceOf(app));
    },
  };
}

/** @param {App} app */
export function sentenceOf(app) {
  const { run } = app.result;
  if (run === null) return STRINGS.nothing;
  const { queryToken } = app.state;
  const weights = rowOf(app, chosenHead(app, run).weights, queryToken);
  const best = argmax(weights);
  const words = STRINGS.sentence;
  const first = words.attends(
    tokenName(app, queryToken),
    tokenName(app, best).toLowerCase(),
    weights[best],
    weights[best] * weights.length,
  );
  const after = app.influence?.masked[best];
  if (!after) return first + words.waiting;
  const predicted = predictedClass(run);
  return first + words.masking(app.config.classNames[predicted], run.probabilities[predicted], after[predicted]);
}
