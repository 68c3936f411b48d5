// The Vision Transformer's forward pass, with all intermediate results.
//
// Patches → tokens + positions → blocks → norm → mean (or class token) → one linear head
// (Dosovitskiy et al. 2021, arXiv 2010.11929), as in clearhead.models.vit.

import { added, layerNorm, linear, softmax } from "./arithmetic";
import type { Config } from "./config";
import { readBlocks, readLinear, runBlock, type LayerRun, type Tensors } from "./encoder";
import type { Switches } from "./interventions";
import { cutPatches } from "./patches";

export type Model = ReturnType<typeof buildModel>;

export interface Run {
  pixels: Float64Array; // normalised
  patchTokens: Float64Array; // before positions
  layers: LayerRun[];
  pooled: Float64Array;
  logits: number[];
  probabilities: number[];
}

export function buildModel(config: Config, tensors: Tensors) {
  return {
    config,
    patchEmbed: readLinear(tensors, "patch_embed.proj"),
    classToken: tensors.get("cls_token") ?? null,
    positions: tensors.get("pos_embed") ?? null,
    blocks: readBlocks(tensors, config),
    norm: readLinear(tensors, "norm"),
    head: readLinear(tensors, "head"),
  };
}

/** The forward pass of one image; `pixels` are normalised, channel by channel. */
export function forward(model: Model, pixels: Float64Array, switches: Switches): Run {
  const { config } = model;
  const cut = cutPatches(pixels, config);
  const patchTokens = linear(cut, config.patches, model.patchEmbed, config.embedDim);
  const prefix = model.classToken?.length ?? 0;
  const tokens = new Float64Array(prefix + patchTokens.length);
  tokens.set(model.classToken ?? []);
  tokens.set(patchTokens, prefix);
  const placed = model.positions !== null && switches.positions ? added(tokens, model.positions) : tokens;
  return onwards(model, { pixels, patchTokens }, [], placed, switches);
}

/** The forward pass from a layer on; earlier layers are taken from `run`. */
export function forwardFrom(model: Model, run: Run, layer: number, switches: Switches): Run {
  return onwards(model, run, run.layers.slice(0, layer), run.layers[layer].input, switches);
}

function onwards(
  model: Model,
  { pixels, patchTokens }: Pick<Run, "pixels" | "patchTokens">,
  layers: LayerRun[],
  tokens: Float64Array,
  switches: Switches,
): Run {
  const { config } = model;
  for (let layer = layers.length; layer < config.depth; layer++) {
    layers.push(runBlock(model.blocks[layer], tokens, config, layer, switches));
    tokens = layers[layer].output;
  }
  const pooled = pool(layerNorm(tokens, config.tokens, model.norm), config);
  const logits = Array.from(linear(pooled, 1, model.head, config.numClasses));
  return { pixels, patchTokens, layers, pooled, logits, probabilities: softmax(logits) };
}

/**
 * Probabilities from the classifier applied after every layer; 0 is the input of the first
 * (nostalgebraist 2020, "interpreting GPT: the logit lens").
 */
export function lens(model: Model, run: Run): number[][] {
  const { config } = model;
  const afterEach = [run.layers[0].input, ...run.layers.map((layer) => layer.output)];
  return afterEach.map((tokens) => {
    const pooled = pool(layerNorm(tokens, config.tokens, model.norm), config);
    return softmax(linear(pooled, 1, model.head, config.numClasses));
  });
}

/** The mean of the tokens, or the class token. */
function pool(normed: Float64Array, { tokens, embedDim, numPrefixTokens }: Config): Float64Array {
  if (numPrefixTokens > 0) return normed.slice(0, embedDim);
  const mean = new Float64Array(embedDim);
  for (let token = 0; token < tokens; token++) {
    for (let i = 0; i < embedDim; i++) mean[i] += normed[token * embedDim + i] / tokens;
  }
  return mean;
}
