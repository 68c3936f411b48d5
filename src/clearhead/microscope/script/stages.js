// The definition of attention, one small function a stage; as clearhead.attention.stages in Python.
//
// scores = Q Kᵀ → scaled = scores · scale → masked → weights = softmax of each row
// → context = weights · V            (Vaswani et al. 2017, "Attention Is All You Need", eq. 1)

export const STAGES = /** @type {const} */ (["scores", "scaled", "weights"]);

/** @typedef {typeof STAGES[number]} StageName the stages that are matrices of tokens × tokens */

/**
 * @typedef {Object} Stages of one head, all flat, row by row
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
 * How well each query matches each key: Q Kᵀ.
 * @param {Float64Array} query
 * @param {Float64Array} key
 * @param {number} tokens
 */
export function scores(query, key, tokens) {
  const headDim = query.length / tokens;
  const result = new Float64Array(tokens * tokens);
  for (let asker = 0; asker < tokens; asker++) {
    for (let answerer = 0; answerer < tokens; answerer++) {
      let sum = 0;
      for (let i = 0; i < headDim; i++) {
        sum += query[asker * headDim + i] * key[answerer * headDim + i];
      }
      result[asker * tokens + answerer] = sum;
    }
  }
  return result;
}

/**
 * Scores times `scale`, 1/√d_k in a trained model.
 * @param {Float64Array} scores
 * @param {number} scale
 */
export function scaled(scores, scale) {
  return scores.map((score) => score * scale);
}

/**
 * Minus infinity where a token may not answer.
 * @param {Float64Array} scaled
 * @param {number} tokens
 * @param {ReadonlySet<number>} silenced
 * @param {boolean} causal whether those after the asker may not answer either
 */
export function masked(scaled, tokens, silenced, causal = false) {
  if (silenced.size === 0 && !causal) return scaled;
  return scaled.map((score, i) => {
    const [asker, answerer] = [Math.floor(i / tokens), i % tokens];
    return silenced.has(answerer) || (causal && answerer > asker) ? -Infinity : score;
  });
}

/**
 * Softmax of each row; zeros where nothing may answer.
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
  for (let asker = 0; asker < tokens; asker++) {
    for (let answerer = 0; answerer < tokens; answerer++) {
      const weight = weights[asker * tokens + answerer];
      for (let i = 0; i < valueDim; i++) {
        result[asker * valueDim + i] += weight * value[answerer * valueDim + i];
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
 * @param {ReadonlySet<number>} silenced
 * @param {boolean} causal
 * @returns {Stages}
 */
export function stages(query, key, value, tokens, scale, silenced, causal = false) {
  const raw = scores(query, key, tokens);
  const small = scaled(raw, scale);
  const allowed = masked(small, tokens, silenced, causal);
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
