// What to look at, in one sentence: who asked, who answered most, and whether it mattered.

import { argmax } from "../arithmetic.js";
import { el, setText } from "../element.js";
import { STRINGS } from "../strings.js";
import { answerOf, chosenHead, rowOf, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createSentence(app) {
  const element = el("p", { class: "sentence" });
  return {
    element,
    update: () => {
      element.hidden = app.reading.run === null;
      setText(element, sentenceOf(app));
    },
  };
}

/** @param {App} app */
export function sentenceOf(app) {
  const { run } = app.reading;
  if (run === null) return STRINGS.nothing;
  const { asker } = app.state;
  const weights = rowOf(app, chosenHead(app, run).weights, asker);
  const best = argmax(weights);
  const words = STRINGS.sentence;
  const first = words.answered(
    tokenName(app, asker),
    tokenName(app, best),
    weights[best],
    weights[best] * weights.length,
  );
  const after = app.influence?.silenced[best];
  if (!after) return first + words.waiting;
  const answer = answerOf(run);
  return first + words.silencing(app.config.answers[answer], run.probabilities[answer], after[answer]);
}
