// What the text view shows: a sentence read by the text model, and sentences like it.

import { MEAN } from "./state.js";
import { likeliest, readText } from "./text.js";
import { MASK, encode, splitWords } from "./words.js";

/** @typedef {import("./text.js").TextModel} TextModel */

export const PRONOUN = "it";
export const ENDINGS = ["hungry", "tired", "round", "shiny", "fast", "small"];
const FRAME = /^(the \w+) (\w+) (the \w+) because it was (\w+) \.$/;
const END = /[.?!]$/;
const QUESTION = `which one ? the ${MASK} .`;
const COUNT = 3; // answers that are shown

/**
 * @typedef {Object} TextReading
 * @property {"empty" | "long" | "read"} status
 * @property {string[]} words
 * @property {string[]} unknown
 * @property {import("./text.js").TextRun | null} run
 * @property {{word: string, probability: number}[]} answers to "which one?"
 * @property {"asked" | "kind" | "unknown" | "causal" | "long"} question whether it was asked, or why not
 * @property {boolean} ended whether a full stop was read that is not there
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
    return { status: long ? "long" : "empty", words, unknown, run: null, answers: [], question: "kind", ended: false };
  }
  const question = questionOf(model, sentence, unknown);
  const answers = question === "asked" ? likeliest(model, `${whole(sentence)} ${QUESTION}`, COUNT) : [];
  return {
    status: "read",
    words,
    unknown,
    run: readText(model, ids),
    answers,
    question: question === "asked" && answers.length === 0 ? "long" : question,
    ended: answers.length > 0 && whole(sentence) !== sentence,
  };
}

/**
 * Whether "which one?" can be asked of the sentence.
 * @param {TextModel} model
 * @param {string} sentence
 * @param {string[]} unknown
 * @returns {TextReading["question"]}
 */
function questionOf({ config }, sentence, unknown) {
  if (config.causal) return "causal";
  if (partsOf(sentence) === null) return "kind";
  return unknown.length ? "unknown" : "asked";
}

/** The sentence with a full stop, if it has no end. @param {string} sentence */
function whole(sentence) {
  return END.test(sentence.trim()) ? sentence : `${sentence.trimEnd()}.`;
}

/** The two things, what one does to the other, and the property that is "it"'s. @param {string} sentence */
function partsOf(sentence) {
  return FRAME.exec(splitWords(whole(sentence)).join(" "));
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
  const parts = partsOf(sentence);
  if (!parts) return null;
  const [, subject, verb, object, property] = parts;
  return written(`${object} ${verb} ${subject} because it was ${property}`);
}

/** The sentence with another last word; null if it is not of that kind. @param {string} sentence @param {string} property */
export function ending(sentence, property) {
  const parts = partsOf(sentence);
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
