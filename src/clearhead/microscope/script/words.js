// A text as words: lower case, punctuation as words of their own; as clearhead.data.words in Python.

export const UNKNOWN = "[unknown]";
export const MASK = "[mask]";

const WORD = /\[[a-z]+\]|[\p{L}\p{N}_]+(?:['’][\p{L}\p{N}_]+)*|[^\p{L}\p{N}_\s]/gu;

/** @typedef {{ids: number[], words: string[], unknown: string[]}} Encoded words that are not known stand as [unknown] */

/** @param {string} text */
export function splitWords(text) {
  return text.toLowerCase().match(WORD) ?? [];
}

/**
 * @param {string} text
 * @param {ReadonlyMap<string, number>} placeOf each word's place in the vocabulary
 * @returns {Encoded}
 */
export function encode(text, placeOf) {
  const said = splitWords(text);
  const words = said.map((word) => (placeOf.has(word) ? word : UNKNOWN));
  return {
    ids: words.map((word) => placeOf.get(word) ?? 0),
    words,
    unknown: [...new Set(said.filter((word) => !placeOf.has(word)))],
  };
}
