// Splits a text into words in lower case and punctuation, as in clearhead.data.tokenizer.

export const UNKNOWN = "[unknown]";
export const MASK = "[mask]";

const WORD = /\[[a-z]+\]|[\p{L}\p{N}_]+(?:['’][\p{L}\p{N}_]+)*|[^\p{L}\p{N}_\s]/gu;

/** @typedef {{ids: number[], words: string[], unknown: string[]}} Encoded unknown words have the id of [unknown] */

/** @param {string} text */
export function splitWords(text) {
  return text.toLowerCase().match(WORD) ?? [];
}

/**
 * @param {string} text
 * @param {ReadonlyMap<string, number>} placeOf each word's index in the vocabulary
 * @returns {Encoded}
 */
export function encode(text, placeOf) {
  const words = splitWords(text);
  return {
    ids: words.map((word) => placeOf.get(word) ?? placeOf.get(UNKNOWN) ?? 0),
    words,
    unknown: [...new Set(words.filter((word) => !placeOf.has(word)))],
  };
}
