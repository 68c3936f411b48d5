// The text Transformer's forward pass: the same blocks, with words instead of patches.
//
// Words → tokens + positions → blocks → norm → logits over the vocabulary at each position, as in
// clearhead.models.text.

import { added, layerNorm, linear, softmax } from "./arithmetic.js";
import { readBlocks, readLinear, readTensor, runBlock } from "./encoder.js";
import { trainedSwitches } from "./experiments.js";
import { MASK, encode } from "./words.js";

/** @typedef {import("./encoder.js").LayerRun} LayerRun */

/**
 * @typedef {Object} TextConfig
 * @property {string[]} vocabulary
 * @property {number} contextLength the longest text, in words
 * @property {number} embedDim
 * @property {number} depth
 * @property {number} numHeads
 * @property {number} headDim
 * @property {number} hiddenDim
 * @property {"sqrt" | "none" | "learned" | number} attentionScale
 * @property {boolean} causal
 */

/**
 * @typedef {Object} TextModel
 * @property {TextConfig} config
 * @property {ReadonlyMap<string, number>} placeOf
 * @property {Float64Array} tokenEmbed vocabulary × embed_dim
 * @property {Float64Array | null} positions
 * @property {import("./encoder.js").Block[]} blocks
 * @property {import("./encoder.js").Norm} norm
 * @property {import("./arithmetic.js").Linear} head
 * @property {import("./experiments.js").Switches} switches
 */

/** @typedef {{layers: LayerRun[], tokens: Float64Array}} TextRun tokens after the last norm */

/**
 * @param {import("./payload.js").TextSettings} settings a TextConfig as Python saves it
 * @returns {TextConfig}
 */
export function readTextConfig(settings) {
  return {
    vocabulary: settings.vocabulary,
    contextLength: settings.context_length,
    embedDim: settings.embed_dim,
    depth: settings.depth,
    numHeads: settings.num_heads,
    headDim: settings.embed_dim / settings.num_heads,
    hiddenDim: Math.floor(settings.embed_dim * settings.mlp_ratio),
    attentionScale: settings.attention_scale,
    causal: settings.causal,
  };
}

/**
 * @param {TextConfig} config
 * @param {Map<string, Float64Array>} tensors
 * @returns {TextModel}
 */
export function buildTextModel(config, tensors) {
  return {
    config,
    placeOf: new Map(config.vocabulary.map((word, place) => [word, place])),
    tokenEmbed: readTensor(tensors, "token_embed.weight"),
    positions: tensors.get("pos_embed") ?? null,
    blocks: readBlocks(tensors, config.depth),
    norm: readLinear(tensors, "norm"),
    head: readLinear(tensors, "head"),
    switches: trainedSwitches(config),
  };
}

/**
 * The forward pass of one text, with all intermediate results.
 * @param {TextModel} model
 * @param {number[]} ids at least one, at most `contextLength`
 * @returns {TextRun}
 */
export function forwardText(model, ids) {
  const { config } = model;
  const { embedDim } = config;
  const words = new Float64Array(ids.length * embedDim);
  ids.forEach((id, i) =>
    words.set(model.tokenEmbed.subarray(id * embedDim, (id + 1) * embedDim), i * embedDim),
  );
  const places = model.positions?.subarray(0, words.length);
  /** @type {Float64Array} */
  let tokens = places ? added(words, places) : words;
  /** @type {LayerRun[]} */
  const layers = [];
  model.blocks.forEach((block, layer) => {
    const shape = { ...config, tokens: ids.length };
    layers.push(runBlock(block, tokens, shape, layer, model.switches));
    tokens = layers[layer].output;
  });
  return { layers, tokens: layerNorm(tokens, ids.length, model.norm) };
}

/**
 * The logits over the vocabulary at one position.
 * @param {TextModel} model
 * @param {TextRun} run
 * @param {number} place
 */
export function wordLogits({ config, head }, { tokens }, place) {
  const { embedDim, vocabulary } = config;
  const token = tokens.subarray(place * embedDim, (place + 1) * embedDim);
  return linear(token, 1, head, vocabulary.length);
}

/**
 * The likeliest words for the first [mask] in a text.
 * @param {TextModel} model
 * @param {string} text with a [mask] in it
 * @param {number} count
 * @returns {{word: string, probability: number}[]} empty if the text is too long, or has no [mask]
 */
export function likeliest(model, text, count) {
  const { ids, words } = encode(text, model.placeOf);
  const place = words.indexOf(MASK);
  if (place < 0 || ids.length > model.config.contextLength) return [];
  const probabilities = softmax(wordLogits(model, forwardText(model, ids), place));
  return probabilities
    .map((probability, id) => ({ word: model.config.vocabulary[id], probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, count);
}
