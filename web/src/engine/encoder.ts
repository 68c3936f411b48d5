// The encoder's blocks, for patches and for words, as in clearhead.models.layers, and the stages of attention,
// one function per stage, as in clearhead.attention.attention_stages:
//
// scores = Q Kᵀ → scaled = scores · scale → masked → weights = softmax of each row
// → context = weights · V            (Vaswani et al. 2017, "Attention Is All You Need", eq. 1)

import { added, gelu, layerNorm, linear, products, times, zeros, type Linear } from "./arithmetic";
import { trainedScale, type Shape } from "./config";
import type { Switches } from "./interventions";

export type Tensors = Map<string, Float64Array>;

type Sizes = Pick<Shape, "embedDim" | "numHeads" | "headDim">;
export type Block = ReturnType<typeof readBlocks>[number];
export type LayerRun = ReturnType<typeof runBlock>;
export type Stages = ReturnType<typeof stages>;

export function readTensor(tensors: Tensors, name: string): Float64Array {
  const found = tensors.get(name);
  if (!found) throw new Error(`the page lacks the tensor ${name}`);
  return found;
}

/** Weight and bias of a layer. */
export function readLinear(tensors: Tensors, name: string): Linear {
  return { weight: readTensor(tensors, `${name}.weight`), bias: tensors.get(`${name}.bias`) ?? null };
}

export function readBlocks(tensors: Tensors, shape: Sizes & { depth: number }) {
  return Array.from({ length: shape.depth }, (_, layer) => {
    const block = `blocks.${layer}`;
    return {
      norm1: readLinear(tensors, `${block}.norm1`),
      heads: headsOf(readLinear(tensors, `${block}.attn.qkv`), shape),
      proj: readLinear(tensors, `${block}.attn.proj`),
      learnedScale: tensors.get(`${block}.attn.learned_scale`) ?? null, // one factor per head
      norm2: readLinear(tensors, `${block}.norm2`),
      fc1: readLinear(tensors, `${block}.mlp.fc1`),
      fc2: readLinear(tensors, `${block}.mlp.fc2`),
    };
  });
}

/** For each head, the rows of the layer's one matrix that make its query, key and value. */
function headsOf({ weight, bias }: Linear, { embedDim, numHeads, headDim }: Sizes): Linear[][] {
  return Array.from({ length: numHeads }, (_, head) =>
    [0, embedDim, 2 * embedDim].map((part): Linear => {
      const [first, end] = [part + head * headDim, part + (head + 1) * headDim];
      return { weight: weight.subarray(first * embedDim, end * embedDim), bias: bias && bias.subarray(first, end) };
    }),
  );
}

/** x + Attention(LayerNorm(x)), then x + MLP(LayerNorm(x)); all but the heads are tokens × embed_dim. */
export function runBlock(block: Block, input: Float64Array, shape: Shape, layer: number, switches: Switches) {
  const { tokens, embedDim, hiddenDim } = shape;
  const normed = layerNorm(input, tokens, block.norm1);
  const heads = attend(block, normed, shape, layer, switches);
  const concatenated = joined(heads, shape, layer, switches);
  const projected = linear(concatenated, tokens, block.proj, embedDim);
  const afterAttention = added(input, projected);
  const hidden = linear(layerNorm(afterAttention, tokens, block.norm2), tokens, block.fc1, hiddenDim);
  const mlpOutput = linear(gelu(hidden), tokens, block.fc2, embedDim);
  const output = added(afterAttention, mlpOutput);
  return {
    input,
    normed, // input of queries, keys and values
    heads,
    concatenated, // the heads' contexts side by side; zeros for a removed head
    projected, // concatenated · W_O
    afterAttention,
    mlpOutput,
    output,
  };
}

function attend(block: Block, normed: Float64Array, shape: Shape, layer: number, switches: Switches) {
  const { tokens, headDim, causal = false } = shape;
  const scale = trainedScale(shape) / switches.temperature;
  return block.heads.map((parts, head) => {
    const [query, key, value] = parts.map((part) => linear(normed, tokens, part, headDim));
    const factor = block.learnedScale?.[head] ?? 1;
    const values = switches.reversed && switches.layer === layer ? inReverse(value, tokens) : value;
    return stages(factor === 1 ? query : times(query, factor), key, values, tokens, scale, switches.masked, causal);
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

/** The rows in reverse order. */
function inReverse(value: Float64Array, tokens: number): Float64Array {
  const width = value.length / tokens;
  return value.map((_, i) => value[(tokens - 1 - Math.floor(i / width)) * width + (i % width)]);
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

/** The transpose of a matrix of `rows` rows. */
function transposed(matrix: Float64Array, rows: number): Float64Array {
  const columns = matrix.length / rows;
  const result = zeros(matrix.length);
  for (let i = 0; i < matrix.length; i++) result[(i % columns) * rows + Math.floor(i / columns)] = matrix[i];
  return result;
}

/** One head, as flat arrays, row by row: query, key, value and context are tokens × head_dim, all others tokens × tokens. */
function stages(query: Float64Array, key: Float64Array, value: Float64Array, tokens: number, scale: number, maskedKeys: number[], causal: boolean) {
  const scores = products(query, tokens, key, tokens); // Q Kᵀ
  const scaled = times(scores, scale);
  const allowed = masked(scaled, tokens, maskedKeys, causal);
  const rows = weights(allowed, tokens);
  return { query, key, value, scores, scaled, masked: allowed, weights: rows, context: products(rows, tokens, transposed(value, tokens), value.length / tokens) };
}
