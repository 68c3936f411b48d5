// A configuration for tests.

import { readConfig, type Config } from "../src/engine/config";

export function config(): Config {
  return readConfig({
    image_size: 28,
    patch_size: 7,
    in_channels: 1,
    embed_dim: 64,
    depth: 6,
    mlp_ratio: 4,
    num_heads: 4,
    num_classes: 10,
    class_names: [],
    mean: [0.1],
    std: [0.3],
    doubtful_below: 0.5,
    rejected_below: 0.2,
    threshold_temperature: 1,
    certainty_weights: [],
    pos_embed: "learned",
    pool: "mean",
    attention_scale: "sqrt",
  });
}

export function filled(length: number, seed: number): Float64Array {
  return Float64Array.from({ length }, (_, i) => Math.sin(seed + 12.9898 * i) * 3);
}

/** x Wᵀ + b, one number after the other. */
export function plain(x: Float64Array, rows: number, weight: Float64Array, bias: Float64Array): number[] {
  const inputs = x.length / rows;
  return Array.from({ length: rows * bias.length }, (_, place) => {
    const [row, output] = [Math.floor(place / bias.length), place % bias.length];
    return bias[output] + Array.from({ length: inputs }, (__, i) => x[row * inputs + i] * weight[output * inputs + i]).reduce((a, b) => a + b);
  });
}
