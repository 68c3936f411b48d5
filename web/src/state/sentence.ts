// The text page's data: the forward pass of a sentence, and variants of the sentence.

import { meanOf } from "../engine/influence";
import { encode, forwardText, likeliest, MASK, splitWords, type TextModel, type TextRun } from "../engine/text";
import { MEAN } from "./state";

export const ENDINGS = ["hungry", "tired", "round", "shiny", "fast", "small"];
const PRONOUN = "it";
const FRAME = /^(the \w+) (\w+) (the \w+) because it was (\w+) \.$/;
const END = /[.?!]$/;
const QUESTION = `which one ? the ${MASK} .`;
const COUNT = 3; // predictions that are shown

export interface SentenceResult {
  status: "computed" | "empty" | "long";
  words: string[];
  unknown: string[];
  run: TextRun | null;
  predictions: { word: string; probability: number }[]; // for the question "which one?"
  reason: string; // why there are none
}

export function computeSentence(model: TextModel, sentence: string): SentenceResult {
  const { ids, words, unknown } = encode(sentence, model.placeOf);
  const status = ids.length === 0 ? "empty" : ids.length > model.config.contextLength ? "long" : "computed";
  if (status !== "computed") return { status, words, unknown, run: null, predictions: [], reason: "" };
  const obstacle = model.config.causal
    ? "needs a model that attends to later words, too."
    : partsOf(sentence) === null
      ? "needs a sentence like “The dog chased the ball because it was hungry.”"
      : unknown.length ? "needs known words; one of these is not in the vocabulary." : "";
  const predictions = obstacle ? [] : likeliest(model, `${whole(sentence)} ${QUESTION}`, COUNT);
  const reason = `The question “Which one?” ${obstacle || "makes the sentence too long for this model."}`;
  return { status, words, unknown, run: forwardText(model, ids), predictions, reason };
}

/** With a full stop. */
function whole(sentence: string): string {
  return END.test(sentence.trim()) ? sentence : `${sentence.trimEnd()}.`;
}

function partsOf(sentence: string): RegExpExecArray | null {
  return FRAME.exec(splitWords(whole(sentence)).join(" "));
}

/** The weights of a head, or the mean of all heads. */
export function weightsOf(run: TextRun, layer: number, head: number): Float64Array {
  const { heads } = run.layers[layer];
  return head === MEAN ? meanOf(heads.map(({ weights }) => weights)) : heads[head].weights;
}

/** With the two nouns exchanged; null for a sentence of another kind. */
export function swapped(sentence: string): string | null {
  const parts = partsOf(sentence);
  return parts && written(`${parts[3]} ${parts[2]} ${parts[1]} because it was ${parts[4]}`);
}

/** With another last word; null for a sentence of another kind. */
export function ending(sentence: string, property: string): string | null {
  const parts = partsOf(sentence);
  return parts && written(`${parts[1]} ${parts[2]} ${parts[3]} because it was ${property}`);
}

export function lastWord(sentence: string): string {
  return splitWords(sentence).filter((word) => /\w/.test(word)).at(-1) ?? "";
}

/** The place of "it", or the first word. */
export function pronounIn(words: string[]): number {
  return Math.max(0, words.indexOf(PRONOUN));
}

function written(words: string): string {
  return `${words[0].toUpperCase()}${words.slice(1)}.`;
}
