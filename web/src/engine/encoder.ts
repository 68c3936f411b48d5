// The encoder's blocks, for patches and for words, as in clearhead.models.layers, and the stages of attention,
// one function per stage, as in clearhead.attention.attention_stages:
//
// scores = Q Kᵀ → scaled = scores · scale → masked → weights = softmax of each row
// → context = weights · V            (Vaswani et al. 2017, "Attention Is All You Need", eq. 1)

import { added, gelu, layerNorm, linear, times, zeros, type Linear, type Norm } from "./arithmetic";
import { trainedScale, type Shape } from "./config";
import { maskedIn, type Switches } from "./interventions";

export type Tensors = Map<string, Float64Array>;

export interface Block {
  norm1: Norm;
  qkv: Linear;
  proj: Linear;
  learnedScale: Float64Array | null; // one factor per head
  norm2: Norm;
  fc1: Linear;
  fc2: Linear;
}

export interface LayerRun {
  input: Float64Array; // tokens × embed_dim, as all but the heads
  normed: Float64Array; // input of queries, keys and values
  heads: Stages[];
  concatenated: Float64Array; // the heads' contexts side by side; zeros for a removed head
  projected: Float64Array; // concatenated · W_O
  afterAttention: Float64Array; // input + projected
  mlpOutput: Float64Array;
  output: Float64Array; // afterAttention + mlpOutput
}

export function readTensor(tensors: Tensors, name: string): Float64Array {
  const found = tensors.get(name);
  if (!found) throw new Error(`the page lacks the tensor ${name}`);
  return found;
}

/** Weight and bias of a layer. */
export function readLinear(tensors: Tensors, name: string): Linear {
  return { weight: readTensor(tensors, `${name}.weight`), bias: tensors.get(`${name}.bias`) ?? null };
}

export function readBlocks(tensors: Tensors, depth: number): Block[] {
  return Array.from({ length: depth }, (_, layer) => {
    const block = `blocks.${layer}`;
    return {
      norm1: readLinear(tensors, `${block}.norm1`),
      qkv: readLinear(tensors, `${block}.attn.qkv`),
      proj: readLinear(tensors, `${block}.attn.proj`),
      learnedScale: tensors.get(`${block}.attn.learned_scale`) ?? null,
      norm2: readLinear(tensors, `${block}.norm2`),
      fc1: readLinear(tensors, `${block}.mlp.fc1`),
      fc2: readLinear(tensors, `${block}.mlp.fc2`),
    };
  });
}

/** x + Attention(LayerNorm(x)), then x + MLP(LayerNorm(x)). */
export function runBlock(block: Block, input: Float64Array, shape: Shape, layer: number, switches: Switches): LayerRun {
  const { tokens, embedDim, hiddenDim } = shape;
  const normed = layerNorm(input, tokens, block.norm1);
  const heads = attend(block, normed, shape, layer, switches);
  const concatenated = joined(heads, shape, layer, switches);
  const projected = linear(concatenated, tokens, block.proj, embedDim);
  const afterAttention = added(input, projected);
  const hidden = linear(layerNorm(afterAttention, tokens, block.norm2), tokens, block.fc1, hiddenDim);
  const mlpOutput = linear(gelu(hidden), tokens, block.fc2, embedDim);
  const output = added(afterAttention, mlpOutput);
  return { input, normed, heads, concatenated, projected, afterAttention, mlpOutput, output };
}

function attend(block: Block, normed: Float64Array, shape: Shape, layer: number, switches: Switches): Stages[] {
  const { tokens, embedDim, headDim, numHeads, causal = false } = shape;
  const qkv = linear(normed, tokens, block.qkv, 3 * embedDim);
  const scale = trainedScale(shape) / switches.temperature;
  const part = (index: number, head: number): Float64Array =>
    columns(qkv, 3 * embedDim, index * embedDim + head * headDim, headDim);
  return Array.from({ length: numHeads }, (_, head) => {
    const factor = block.learnedScale === null ? 1 : block.learnedScale[head];
    const query = factor === 1 ? part(0, head) : times(part(0, head), factor);
    const value = changedValues(part(2, head), tokens, layer, switches);
    return stages(query, part(1, head), value, tokens, scale, maskedIn(switches, layer, head), causal);
  });
}

function joined(heads: Stages[], shape: Shape, layer: number, { removed }: Switches): Float64Array {
  const { tokens, embedDim, headDim, numHeads } = shape;
  const side = zeros(tokens * embedDim);
  heads.forEach(({ context }, head) => {
    if (removed.includes(layer * numHeads + head)) return;
    for (let token = 0; token < tokens; token++) {
      side.set(context.subarray(token * headDim, (token + 1) * headDim), token * embedDim + head * headDim);
    }
  });
  return side;
}

/** The values: unchanged, all zero, or in reversed order of the tokens. */
function changedValues(value: Float64Array, tokens: number, layer: number, switches: Switches): Float64Array {
  if (switches.values === "trained" || switches.layer !== layer) return value;
  const changed = new Float64Array(value.length);
  if (switches.values === "zero") return changed;
  const width = value.length / tokens;
  for (let token = 0; token < tokens; token++) {
    changed.set(value.subarray(token * width, (token + 1) * width), (tokens - 1 - token) * width);
  }
  return changed;
}

function columns(x: Float64Array, width: number, start: number, count: number): Float64Array {
  const rows = x.length / width;
  const result = zeros(rows * count);
  for (let row = 0; row < rows; row++) {
    result.set(x.subarray(row * width + start, row * width + start + count), row * count);
  }
  return result;
}

/** One head, as flat arrays, row by row. */
export interface Stages {
  query: Float64Array; // tokens × head_dim, as key, value and context
  key: Float64Array;
  value: Float64Array;
  scores: Float64Array; // tokens × tokens, as scaled, masked and weights
  scaled: Float64Array;
  masked: Float64Array;
  weights: Float64Array;
  context: Float64Array;
}

/** Minus infinity at masked keys, and with `causal` at keys after the query. */
function masked(scaled: Float64Array, tokens: number, maskedKeys: number[], causal: boolean): Float64Array {
  if (maskedKeys.length === 0 && !causal) return scaled;
  return scaled.map((score, i) => {
    const [q, k] = [Math.floor(i / tokens), i % tokens];
    return maskedKeys.includes(k) || (causal && k > q) ? -Infinity : score;
  });
}

/** Softmax of each row; zeros where all keys are masked. */
function weights(masked: Float64Array, tokens: number): Float64Array {
  const result = zeros(masked.length);
  for (let start = 0; start < masked.length; start += tokens) {
    let largest = -Infinity;
    for (let i = 0; i < tokens; i++) largest = Math.max(largest, masked[start + i]);
    if (largest === -Infinity) continue;
    let sum = 0;
    for (let i = 0; i < tokens; i++) {
      result[start + i] = Math.exp(masked[start + i] - largest);
      sum += result[start + i];
    }
    for (let i = 0; i < tokens; i++) result[start + i] /= sum;
  }
  return result;
}

/** The weighted sum of the values: weights · V. */
function context(weights: Float64Array, value: Float64Array, tokens: number): Float64Array {
  const valueDim = value.length / tokens;
  const result = zeros(value.length);
  for (let q = 0; q < tokens; q++) {
    for (let k = 0; k < tokens; k++) {
      const weight = weights[q * tokens + k];
      for (let i = 0; i < valueDim; i++) result[q * valueDim + i] += weight * value[k * valueDim + i];
    }
  }
  return result;
}

export function stages(
  query: Float64Array,
  key: Float64Array,
  value: Float64Array,
  tokens: number,
  scale: number,
  maskedKeys: number[],
  causal: boolean,
): Stages {
  const scores = linear(query, tokens, { weight: key, bias: null }, tokens); // Q Kᵀ
  const scaled = times(scores, scale);
  const allowed = masked(scaled, tokens, maskedKeys, causal);
  const rows = weights(allowed, tokens);
  return { query, key, value, scores, scaled, masked: allowed, weights: rows, context: context(rows, value, tokens) };
}
