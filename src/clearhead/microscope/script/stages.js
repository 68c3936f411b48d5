// The stages of attention, one function per stage, as in clearhead.attention.attention_stages.
//
// scores = Q Kᵀ → scaled = scores · scale → masked → weights = softmax of each row
// → context = weights · V            (Vaswani et al. 2017, "Attention Is All You Need", eq. 1)

export const STAGES = /** @type {const} */ (["scores", "scaled", "weights"]);

/** @typedef {typeof STAGES[number]} StageName stages of tokens × tokens */

/**
 * @typedef {Object} Stages of one head, as flat arrays, row by row
 * @property {Float64Array} query tokens × head_dim
 * @property {Float64Array} key tokens × head_dim
 * @property {Float64Array} value tokens × head_dim
 * @property {Float64Array} scores tokens × tokens
 * @property {Float64Array} scaled tokens × tokens
 * @property {Float64Array} masked tokens × tokens
 * @property {Float64Array} weights tokens × tokens
 * @property {Float64Array} context tokens × head_dim
 */

/**
 * The dot product of each query with each key: Q Kᵀ.
 * @param {Float64Array} query
 * @param {Float64Array} key
 * @param {number} tokens
 */
export function scores(query, key, tokens) {
  const headDim = query.length / tokens;
  const result = new Float64Array(tokens * tokens);
  for (let queryToken = 0; queryToken < tokens; queryToken++) {
    for (let keyToken = 0; keyToken < tokens; keyToken++) {
      let sum = 0;
      for (let i = 0; i < headDim; i++) {
        sum += query[queryToken * headDim + i] * key[keyToken * headDim + i];
      }
      result[queryToken * tokens + keyToken] = sum;
    }
  }
  return result;
}

/**
 * Scores times `scale`: 1/√d_k in a trained model.
 * @param {Float64Array} scores
 * @param {number} scale
 */
export function scaled(scores, scale) {
  return scores.map((score) => score * scale);
}

/**
 * Minus infinity at masked keys.
 * @param {Float64Array} scaled
 * @param {number} tokens
 * @param {ReadonlySet<number>} maskedKeys
 * @param {boolean} causal whether keys after the query are masked, too
 */
export function masked(scaled, tokens, maskedKeys, causal = false) {
  if (maskedKeys.size === 0 && !causal) return scaled;
  return scaled.map((score, i) => {
    const [queryToken, keyToken] = [Math.floor(i / tokens), i % tokens];
    return maskedKeys.has(keyToken) || (causal && keyToken > queryToken) ? -Infinity : score;
  });
}

/**
 * Softmax of each row; zeros where all keys are masked.
 * @param {Float64Array} masked
 * @param {number} tokens
 */
export function weights(masked, tokens) {
  const result = new Float64Array(masked.length);
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

/**
 * The weighted sum of the values: weights · V.
 * @param {Float64Array} weights
 * @param {Float64Array} value
 * @param {number} tokens
 */
export function context(weights, value, tokens) {
  const valueDim = value.length / tokens;
  const result = new Float64Array(value.length);
  for (let queryToken = 0; queryToken < tokens; queryToken++) {
    for (let keyToken = 0; keyToken < tokens; keyToken++) {
      const weight = weights[queryToken * tokens + keyToken];
      for (let i = 0; i < valueDim; i++) {
        result[queryToken * valueDim + i] += weight * value[keyToken * valueDim + i];
      }
    }
  }
  return result;
}

/**
 * All stages of one head.
 * @param {Float64Array} query
 * @param {Float64Array} key
 * @param {Float64Array} value
 * @param {number} tokens
 * @param {number} scale
 * @param {ReadonlySet<number>} maskedKeys
 * @param {boolean} causal
 * @returns {Stages}
 */
export function stages(query, key, value, tokens, scale, maskedKeys, causal = false) {
  const raw = scores(query, key, tokens);
  const small = scaled(raw, scale);
  const allowed = masked(small, tokens, maskedKeys, causal);
  const rows = weights(allowed, tokens);
  return {
    query,
    key,
    value,
    scores: raw,
    scaled: small,
    masked: allowed,
    weights: rows,
    context: context(rows, value, tokens),
  };
}
