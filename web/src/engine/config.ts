// The configuration of a model, as in clearhead.models.config.

export type AttentionScale = "sqrt" | "none" | "learned" | number;
export type Size = [number, number]; // height and width

/** A ViTConfig in JSON. */
export interface Settings {
  image_size: number | Size;
  patch_size: number | Size;
  in_channels: number;
  embed_dim: number;
  depth: number;
  mlp_ratio: number;
  num_heads: number;
  num_classes: number;
  class_names: string[];
  mean: number[];
  std: number[];
  doubtful_below: number;
  rejected_below: number;
  threshold_temperature: number;
  certainty_weights: number[];
  pos_embed: "learned" | "sincos" | "none";
  pool: "mean" | "class";
  attention_scale: AttentionScale;
}

/** What a block needs to know of its model. */
export interface Shape {
  tokens: number;
  embedDim: number;
  numHeads: number;
  headDim: number;
  hiddenDim: number; // of the MLP
  attentionScale: AttentionScale;
  causal?: boolean; // whether a token attends only to itself and earlier tokens
}

export interface Config extends Shape {
  imageShape: Size;
  patchShape: Size;
  grid: Size; // rows and columns of patches
  patches: number;
  inChannels: number;
  depth: number;
  numClasses: number;
  numPrefixTokens: number; // tokens before the first patch: the class token, if any
  posEmbed: "learned" | "sincos" | "none";
  classNames: string[];
  readsDigits: boolean; // a model of MNIST itself, whose input is a digit centred as in MNIST
  mean: number[];
  std: number[];
  doubtfulBelow: number; // a prediction with a lower certainty is doubtful
  rejectedBelow: number; // below it, a picture gets no label
  thresholdTemperature: number; // divides the logits for the softened probability
  certaintyWeights: number[]; // of a logistic regression; without any, the certainty is that probability
}

export function readConfig(settings: Settings): Config {
  const imageShape = pair(settings.image_size);
  const patchShape = pair(settings.patch_size);
  const grid: Size = [imageShape[0] / patchShape[0], imageShape[1] / patchShape[1]];
  const patches = grid[0] * grid[1];
  const numPrefixTokens = settings.pool === "class" ? 1 : 0;
  const isMnist =
    settings.in_channels === 1 && imageShape.join() === "28,28" && settings.num_classes === 10;
  return {
    imageShape,
    patchShape,
    grid,
    patches,
    numPrefixTokens,
    tokens: patches + numPrefixTokens,
    inChannels: settings.in_channels,
    embedDim: settings.embed_dim,
    depth: settings.depth,
    numHeads: settings.num_heads,
    headDim: settings.embed_dim / settings.num_heads,
    hiddenDim: Math.floor(settings.embed_dim * settings.mlp_ratio),
    numClasses: settings.num_classes,
    attentionScale: settings.attention_scale,
    posEmbed: settings.pos_embed,
    classNames: settings.class_names.length
      ? settings.class_names
      : Array.from({ length: settings.num_classes }, (_, i) => String(i)),
    readsDigits: isMnist && settings.class_names.length === 0,
    mean: settings.mean,
    std: settings.std,
    doubtfulBelow: settings.doubtful_below,
    rejectedBelow: settings.rejected_below,
    thresholdTemperature: settings.threshold_temperature,
    certaintyWeights: settings.certainty_weights,
  };
}

/** The factor on the scores without experiments; a learned one is already in the queries. */
export function trainedScale({ attentionScale, headDim }: Pick<Shape, "attentionScale" | "headDim">): number {
  if (attentionScale === "sqrt") return 1 / Math.sqrt(headDim);
  return typeof attentionScale === "number" ? attentionScale : 1;
}

function pair(size: number | Size): Size {
  return typeof size === "number" ? [size, size] : size;
}
