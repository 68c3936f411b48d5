// The configuration of a model, as in clearhead.models.config.

export type Size = [number, number]; // height and width

/** What a block needs to know of its model. */
export interface Shape {
  tokens: number;
  embedDim: number;
  numHeads: number;
  headDim: number;
  hiddenDim: number; // of the MLP
  attentionScale: "sqrt" | "none" | "learned" | number;
  causal?: boolean; // whether a token attends only to itself and earlier tokens
}

/** The fields of a ViTConfig, except those that the page has under another name. */
interface Settings {
  imageSize: number | Size;
  patchSize: number | Size;
  inChannels: number;
  depth: number;
  numClasses: number;
  classNames: string[];
  mean: number[];
  std: number[];
  doubtfulBelow: number; // a prediction with a lower certainty is doubtful
  rejectedBelow: number; // below it, a picture gets no label
  thresholdTemperature: number; // divides the logits for the softened probability
  certaintyWeights: number[]; // of a logistic regression; without any, the certainty is that probability
  posEmbed: "learned" | "sincos" | "none";
  pool: "mean" | "class";
}

export interface Config extends Settings, Shape {
  imageShape: Size;
  patchShape: Size;
  grid: Size; // rows and columns of patches
  patches: number;
  numPrefixTokens: number; // tokens before the first patch: the class token, if any
  readsDigits: boolean; // a model of MNIST itself, whose input is a digit centred as in MNIST
}

export function readConfig(json: object): Config {
  const settings = readSettings<Settings>(json);
  const { classNames, inChannels, numClasses } = settings;
  const [imageShape, patchShape] = [pair(settings.imageSize), pair(settings.patchSize)];
  const grid: Size = [imageShape[0] / patchShape[0], imageShape[1] / patchShape[1]];
  const patches = grid[0] * grid[1];
  const numPrefixTokens = settings.pool === "class" ? 1 : 0;
  return {
    ...settings,
    imageShape,
    patchShape,
    grid,
    patches,
    numPrefixTokens,
    tokens: patches + numPrefixTokens,
    classNames: classNames.length ? classNames : Array.from({ length: numClasses }, (_, i) => String(i)),
    readsDigits: !classNames.length && numClasses === 10 && inChannels === 1 && imageShape.join() === "28,28",
  };
}

/** A configuration of Python, with names in camel case and the sizes of a block. */
export function readSettings<T>(json: object): T & Omit<Shape, "tokens"> {
  const entries = Object.entries(json).map(([name, value]) => [name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()), value]);
  const settings = Object.fromEntries(entries);
  const { embedDim, numHeads, mlpRatio } = settings;
  return { ...settings, headDim: embedDim / numHeads, hiddenDim: Math.floor(embedDim * mlpRatio) };
}

/** The factor on the scores without experiments; a learned one is already in the queries. */
export function trainedScale({ attentionScale, headDim }: Pick<Shape, "attentionScale" | "headDim">): number {
  if (attentionScale === "sqrt") return 1 / Math.sqrt(headDim);
  return typeof attentionScale === "number" ? attentionScale : 1;
}

function pair(size: number | Size): Size {
  return typeof size === "number" ? [size, size] : size;
}
