// Two attention maps of the image: the last layer's, and rollout through all layers.

/** @typedef {import("./config.js").Config} Config */
/** @typedef {import("./model.js").Run} Run */

/**
 * Attention rollout: how much each token contributes to the pooled output by attention alone. In every
 * layer, the mean of the heads and the identity are averaged; the layers are multiplied (Abnar and
 * Zuidema 2020). Sums to 1 over all tokens.
 * @param {Run} run
 * @param {Config} config
 */
export function rollout(run, config) {
  const { tokens } = config;
  let flow = queriesOf(config);
  for (const layer of [...run.layers].reverse()) {
    const mean = meanOfHeads(layer.heads.map((head) => head.weights));
    const next = new Float64Array(tokens);
    for (let queryToken = 0; queryToken < tokens; queryToken++) {
      next[queryToken] += flow[queryToken] / 2;
      for (let keyToken = 0; keyToken < tokens; keyToken++) {
        next[keyToken] += (flow[queryToken] * mean[queryToken * tokens + keyToken]) / 2;
      }
    }
    flow = next;
  }
  return flow;
}

/**
 * The last layer's attention to each token, as the mean over heads and queries.
 * @param {Run} run
 * @param {Config} config
 */
export function lastLayer(run, config) {
  const { tokens } = config;
  const mean = meanOfHeads(run.layers[run.layers.length - 1].heads.map((head) => head.weights));
  const queries = queriesOf(config);
  return Float64Array.from({ length: tokens }, (_, keyToken) =>
    queries.reduce((sum, share, queryToken) => sum + share * mean[queryToken * tokens + keyToken], 0),
  );
}

/** The rows that are pooled: the class token's, or all. @param {Config} config */
function queriesOf({ tokens, numPrefixTokens }) {
  const queries = new Float64Array(tokens);
  if (numPrefixTokens > 0) queries[0] = 1;
  else queries.fill(1 / tokens);
  return queries;
}

/** @param {Float64Array[]} heads */
function meanOfHeads(heads) {
  return heads[0].map(
    (_, i) => heads.reduce((sum, weights) => sum + weights[i], 0) / heads.length,
  );
}
