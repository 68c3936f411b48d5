// The text Transformer's forward pass: the same blocks, with words instead of patches.
//
// Words → tokens + positions → blocks → norm → logits over the vocabulary at each position, as in
// clearhead.models.text. Words are split as in clearhead.data.tokenizer.

import { added, layerNorm, linear, softmax } from "./arithmetic";
import { readSettings, type Shape } from "./config";
import { readBlocks, readLinear, readTensor, runBlock, type LayerRun, type Tensors } from "./encoder";
import { TRAINED } from "./interventions";

export interface TextConfig extends Omit<Shape, "tokens"> {
  vocabulary: string[];
  contextLength: number; // the longest text, in words
  depth: number;
  causal: boolean;
}

export type TextModel = ReturnType<typeof buildTextModel>;

export interface TextRun {
  layers: LayerRun[];
  tokens: Float64Array; // after the last norm
}

export const UNKNOWN = "[unknown]";
export const MASK = "[mask]";
const WORD = /\[[a-z]+\]|[\p{L}\p{N}_]+(?:['’][\p{L}\p{N}_]+)*|[^\p{L}\p{N}_\s]/gu;

export function splitWords(text: string): string[] {
  return text.toLowerCase().match(WORD) ?? [];
}

/** Words and their places in the vocabulary; unknown words have the place of [unknown]. */
export function encode(text: string, placeOf: ReadonlyMap<string, number>) {
  const words = splitWords(text);
  return {
    ids: words.map((word) => placeOf.get(word) ?? placeOf.get(UNKNOWN) ?? 0),
    words,
    unknown: [...new Set(words.filter((word) => !placeOf.has(word)))],
  };
}

/** From a TextConfig of Python and its tensors. */
export function buildTextModel(json: object, tensors: Tensors) {
  const config = readSettings<TextConfig>(json);
  return {
    config,
    placeOf: new Map(config.vocabulary.map((word, place) => [word, place])) as ReadonlyMap<string, number>, // of each word
    tokenEmbed: readTensor(tensors, "token_embed.weight"), // vocabulary × embed_dim
    positions: tensors.get("pos_embed") ?? null,
    blocks: readBlocks(tensors, config),
    norm: readLinear(tensors, "norm"),
    head: readLinear(tensors, "head"),
  };
}

/** The forward pass of one text of at least one word and at most `contextLength`. */
export function forwardText(model: TextModel, ids: number[]): TextRun {
  const { config } = model;
  const { embedDim } = config;
  const words = new Float64Array(ids.length * embedDim);
  ids.forEach((id, i) => {
    words.set(model.tokenEmbed.subarray(id * embedDim, (id + 1) * embedDim), i * embedDim);
  });
  let tokens = model.positions ? added(words, model.positions) : words;
  const layers: LayerRun[] = [];
  model.blocks.forEach((block, layer) => {
    layers.push(runBlock(block, tokens, { ...config, tokens: ids.length }, layer, TRAINED));
    tokens = layers[layer].output;
  });
  return { layers, tokens: layerNorm(tokens, ids.length, model.norm) };
}

/** The logits over the vocabulary at one position. */
export function wordLogits({ config, head }: TextModel, { tokens }: TextRun, place: number): Float64Array {
  const { embedDim, vocabulary } = config;
  return linear(tokens.slice(place * embedDim, (place + 1) * embedDim), 1, head, vocabulary.length);
}

/** The likeliest words for the first [mask] in a text; none if the text is too long or has no [mask]. */
export function likeliest(model: TextModel, text: string, count: number): { word: string; probability: number }[] {
  const { ids, words } = encode(text, model.placeOf);
  const place = words.indexOf(MASK);
  if (place < 0 || ids.length > model.config.contextLength) return [];
  return softmax(wordLogits(model, forwardText(model, ids), place))
    .map((probability, id) => ({ word: model.config.vocabulary[id], probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, count);
}
