// The text view's data: the forward pass of a sentence, and variants of the sentence.

import { MEAN } from "./state.js";
import { likeliest, forwardText } from "./text.js";
import { MASK, encode, splitWords } from "./words.js";

/** @typedef {import("./text.js").TextModel} TextModel */

export const PRONOUN = "it";
export const ENDINGS = ["hungry", "tired", "round", "shiny", "fast", "small"];
const FRAME = /^(the \w+) (\w+) (the \w+) because it was (\w+) \.$/;
const END = /[.?!]$/;
const QUESTION = `which one ? the ${MASK} .`;
const COUNT = 3; // predictions that are shown

/**
 * @typedef {Object} TextResult
 * @property {"empty" | "long" | "computed"} status
 * @property {string[]} words
 * @property {string[]} unknown
 * @property {import("./text.js").TextRun | null} run
 * @property {{word: string, probability: number}[]} predictions for "which one?"
 * @property {"applies" | "kind" | "unknown" | "causal" | "long"} question "applies", or the reason why not
 * @property {boolean} ended whether a full stop was added
 */

/**
 * @param {TextModel} model
 * @param {string} sentence
 * @returns {TextResult}
 */
export function computeSentence(model, sentence) {
  const { ids, words, unknown } = encode(sentence, model.placeOf);
  const long = ids.length > model.config.contextLength;
  if (ids.length === 0 || long) {
    return { status: long ? "long" : "empty", words, unknown, run: null, predictions: [], question: "kind", ended: false };
  }
  const question = questionOf(model, sentence, unknown);
  const predictions = question === "applies" ? likeliest(model, `${whole(sentence)} ${QUESTION}`, COUNT) : [];
  return {
    status: "computed",
    words,
    unknown,
    run: forwardText(model, ids),
    predictions,
    question: question === "applies" && predictions.length === 0 ? "long" : question,
    ended: predictions.length > 0 && whole(sentence) !== sentence,
  };
}

/**
 * Whether the question "which one?" fits the sentence.
 * @param {TextModel} model
 * @param {string} sentence
 * @param {string[]} unknown
 * @returns {TextResult["question"]}
 */
function questionOf({ config }, sentence, unknown) {
  if (config.causal) return "causal";
  if (partsOf(sentence) === null) return "kind";
  return unknown.length ? "unknown" : "applies";
}

/** The sentence with a full stop at its end. @param {string} sentence */
function whole(sentence) {
  return END.test(sentence.trim()) ? sentence : `${sentence.trimEnd()}.`;
}

/** The two nouns, the verb, and the property of "it". @param {string} sentence */
function partsOf(sentence) {
  return FRAME.exec(splitWords(whole(sentence)).join(" "));
}

/** `computeSentence` that caches the last sentence. @param {TextModel} model */
export function cachedSentence(model) {
  let last = { sentence: "", result: computeSentence(model, "") };
  return (/** @type {string} */ sentence) => {
    if (sentence !== last.sentence) last = { sentence, result: computeSentence(model, sentence) };
    return last.result;
  };
}

/**
 * The weights of one head, or the mean of all heads of a layer.
 * @param {import("./text.js").TextRun} run
 * @param {number} layer
 * @param {number} head
 */
export function weightsOf(run, layer, head) {
  const { heads } = run.layers[layer];
  if (head !== MEAN) return heads[head].weights;
  return heads[0].weights.map(
    (_, i) => heads.reduce((sum, { weights }) => sum + weights[i], 0) / heads.length,
  );
}

/** The sentence with its two nouns swapped; null if it has another form. @param {string} sentence */
export function swapped(sentence) {
  const parts = partsOf(sentence);
  if (!parts) return null;
  const [, subject, verb, object, property] = parts;
  return written(`${object} ${verb} ${subject} because it was ${property}`);
}

/** The sentence with another last word; null if it has another form. @param {string} sentence @param {string} property */
export function ending(sentence, property) {
  const parts = partsOf(sentence);
  return parts && written(`${parts[1]} ${parts[2]} ${parts[3]} because it was ${property}`);
}

/** The last word before the full stop. @param {string} sentence */
export function lastWord(sentence) {
  return splitWords(sentence).filter((word) => /\w/.test(word)).at(-1) ?? "";
}

/** The index of the pronoun; 0 if there is none. @param {readonly string[]} words */
export function pronounIn(words) {
  return Math.max(0, words.indexOf(PRONOUN));
}

/** @param {string} words */
function written(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
