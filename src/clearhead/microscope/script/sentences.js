// What the text view shows: a sentence read by the text model, and sentences like it.

import { MEAN } from "./state.js";
import { likeliest, readText } from "./text.js";
import { MASK, encode, splitWords } from "./words.js";

/** @typedef {import("./text.js").TextModel} TextModel */

export const PRONOUN = "it";
export const ENDINGS = ["hungry", "tired", "round", "shiny", "fast", "small"];
const FRAME = /^(the \w+) (\w+) (the \w+) because it was (\w+) \.$/;
const QUESTION = `which one ? the ${MASK} .`;
const COUNT = 3; // answers that are shown

/**
 * @typedef {Object} TextReading
 * @property {"empty" | "long" | "read"} status
 * @property {string[]} words
 * @property {string[]} unknown
 * @property {import("./text.js").TextRun | null} run
 * @property {{word: string, probability: number}[]} answers to "which one?"
 */

/**
 * @param {TextModel} model
 * @param {string} sentence
 * @returns {TextReading}
 */
export function readSentence(model, sentence) {
  const { ids, words, unknown } = encode(sentence, model.placeOf);
  const long = ids.length > model.config.contextLength;
  if (ids.length === 0 || long) {
    return { status: long ? "long" : "empty", words, unknown, run: null, answers: [] };
  }
  const asked = FRAME.test(words.join(" ")) && unknown.length === 0 && !model.config.causal;
  const answers = asked ? likeliest(model, `${sentence} ${QUESTION}`, COUNT) : [];
  return { status: "read", words, unknown, run: readText(model, ids), answers };
}

/** `readSentence` that remembers the last one. @param {TextModel} model */
export function rememberingSentence(model) {
  let last = { sentence: "", reading: readSentence(model, "") };
  return (/** @type {string} */ sentence) => {
    if (sentence !== last.sentence) last = { sentence, reading: readSentence(model, sentence) };
    return last.reading;
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

/** The sentence with the two things in each other's place; null if it is not of that kind. @param {string} sentence */
export function swapped(sentence) {
  const parts = FRAME.exec(splitWords(sentence).join(" "));
  if (!parts) return null;
  const [, subject, verb, object, property] = parts;
  return written(`${object} ${verb} ${subject} because it was ${property}`);
}

/** The sentence with another last word; null if it is not of that kind. @param {string} sentence @param {string} property */
export function ending(sentence, property) {
  const parts = FRAME.exec(splitWords(sentence).join(" "));
  return parts && written(`${parts[1]} ${parts[2]} ${parts[3]} because it was ${property}`);
}

/** The last word before the full stop. @param {string} sentence */
export function lastWord(sentence) {
  return splitWords(sentence).filter((word) => /\w/.test(word)).at(-1) ?? "";
}

/** Where the pronoun stands; the first word if there is none. @param {readonly string[]} words */
export function pronounIn(words) {
  return Math.max(0, words.indexOf(PRONOUN));
}

/** @param {string} words */
function written(words) {
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
