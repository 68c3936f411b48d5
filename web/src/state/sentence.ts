// The text page's data: the forward pass of a sentence, and variants of the sentence.

import { headName } from "../draw/geometry";
import { row } from "../engine/arithmetic";
import { meanOf } from "../engine/influence";
import { encode, forwardText, likeliest, MASK, splitWords, type TextModel, type TextRun } from "../engine/text";

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
}

export function computeSentence(model: TextModel, sentence: string): SentenceResult {
  const { ids, words, unknown } = encode(sentence, model.placeOf);
  const status = ids.length === 0 ? "empty" : ids.length > model.config.contextLength ? "long" : "computed";
  if (status !== "computed") return { status, words, unknown, run: null, predictions: [] };
  const isAnswerable = !model.config.causal && partsOf(sentence) !== null && unknown.length === 0;
  const predictions = isAnswerable ? likeliest(model, `${whole(sentence)} ${QUESTION}`, COUNT) : [];
  return { status, words, unknown, run: forwardText(model, ids), predictions };
}

/** With a full stop. */
function whole(sentence: string): string {
  return END.test(sentence.trim()) ? sentence : `${sentence.trimEnd()}.`;
}

function partsOf(sentence: string): RegExpExecArray | null {
  return FRAME.exec(splitWords(whole(sentence)).join(" "));
}

/** The weights of every layer: their mean over the heads, and those of each head. */
export function headsOf({ layers }: TextRun, words: number) {
  const rowsOf = (weights: Float64Array) => Array.from({ length: words }, (_, query) => row(weights, query, words));
  return layers.flatMap(({ heads }, place) => {
    const layer = `L${place + 1}`;
    const mean = { layer, head: "Mean", label: `${layer}, mean of heads`, weights: rowsOf(meanOf(heads.map(({ weights }) => weights))) };
    return [mean, ...heads.map(({ weights }, head) => ({ layer, head: `H${head + 1}`, label: headName(place, head), weights: rowsOf(weights) }))];
  });
}

/** With another last word; null for a sentence of another kind. */
export function ending(sentence: string, property: string): string | null {
  const parts = partsOf(sentence);
  const words = parts && `${parts[1]} ${parts[2]} ${parts[3]} because it was ${property}.`;
  return words && words[0].toUpperCase() + words.slice(1);
}

export function lastWord(sentence: string): string {
  return splitWords(sentence).filter((word) => /\w/.test(word)).at(-1) ?? "";
}

/** The place of "it", or the first word. */
export function pronounIn(words: string[]): number {
  return Math.max(0, words.indexOf(PRONOUN));
}
