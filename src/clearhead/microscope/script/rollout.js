// Two summaries of attention over the image: the last layer's, and rollout through all layers.

/** @typedef {import("./config.js").Config} Config */
/** @typedef {import("./model.js").Run} Run */

/**
 * How much each token reaches the pooled answer, if attention alone counted: in every layer the mean
 * of the heads and the residual path, half each, multiplied (Abnar and Zuidema 2020, "attention
 * rollout"). Sums to 1 over all tokens.
 * @param {Run} run
 * @param {Config} config
 */
export function rollout(run, config) {
  const { tokens } = config;
  let flow = askersOf(config);
  for (const layer of [...run.layers].reverse()) {
    const mean = meanOfHeads(layer.heads.map((head) => head.weights));
    const next = new Float64Array(tokens);
    for (let asker = 0; asker < tokens; asker++) {
      next[asker] += flow[asker] / 2;
      for (let answerer = 0; answerer < tokens; answerer++) {
        next[answerer] += (flow[asker] * mean[asker * tokens + answerer]) / 2;
      }
    }
    flow = next;
  }
  return flow;
}

/**
 * How much each token is attended to in the last layer, on the mean of heads and askers.
 * @param {Run} run
 * @param {Config} config
 */
export function lastLayer(run, config) {
  const { tokens } = config;
  const mean = meanOfHeads(run.layers[run.layers.length - 1].heads.map((head) => head.weights));
  const askers = askersOf(config);
  return Float64Array.from({ length: tokens }, (_, answerer) =>
    askers.reduce((sum, share, asker) => sum + share * mean[asker * tokens + answerer], 0),
  );
}

/** Whose row leads to the answer: the class token's, or all alike. @param {Config} config */
function askersOf({ tokens, numPrefixTokens }) {
  const askers = new Float64Array(tokens);
  if (numPrefixTokens > 0) askers[0] = 1;
  else askers.fill(1 / tokens);
  return askers;
}

/** @param {Float64Array[]} heads */
function meanOfHeads(heads) {
  return heads[0].map(
    (_, i) => heads.reduce((sum, weights) => sum + weights[i], 0) / heads.length,
  );
}
