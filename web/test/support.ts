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
