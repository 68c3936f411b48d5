// From a picture to the digits that the page shows, as `predict` does: whether its ink is one digit or several is
// decided by what the model predicts for each.

import { softmax } from "../engine/arithmetic";
import type { Config } from "../engine/config";
import { TRAINED } from "../engine/interventions";
import { normalize } from "../engine/patches";
import { predictionOf, type Prediction } from "../engine/predict";
import { forward, type Model } from "../engine/vit";
import { COARSE, SEVERAL, SLASH, TOO_SMALL, TOUCHING, WARNINGS, digitAndParts, type Digit } from "./digits";
import { addressOf, fitted, pixelsOf, toGrey, type Pixels } from "./image";
import { hull, sideOf, type Box } from "./pixels";
import { CANVAS } from "./strokes";

const PAD_SIDE = 600; // pixels are enough for the pad
const MIN_CERTAINTY = 0.35; // of digits that touch
const MAX_COARSE = 10; // pixels on the longer side of ink whose certainty cannot be estimated

export type Input = Pick<Digit, "pixels" | "warnings" | "box">;

export interface Predicted {
  input: Input;
  prediction: Prediction;
  softened: number; // probability of the label, with the thresholds' temperature
}

export interface Opened {
  inputs: Input[]; // each digit in reading order; for a model of other classes, the whole picture
  address: string; // of the picture, as small as the pad
  boxes: Box[]; // of the digits where there are several, on the pad
}

/** Decodes a file and finds its digits. */
export async function opened(file: Blob, model: Model): Promise<Opened> {
  const bitmap = await createImageBitmap(file);
  const pixels = pixelsOf(bitmap, file.type === "image/jpeg", model.config.readsDigits);
  const inputs = inputsOf(pixels, model);
  const boxes = inputs.length > 1 ? onPad(bitmap, inputs.map(({ box }) => box)) : [];
  return { inputs, address: await addressOf(bitmap, PAD_SIDE), boxes };
}

/** Boxes in pixels of a picture, in units of the pad that shows it. */
function onPad({ width, height }: ImageBitmap, boxes: Box[]): Box[] {
  const scale = CANVAS / Math.max(width, height);
  const margins = [(CANVAS - scale * width) / 2, (CANVAS - scale * height) / 2];
  return boxes.map((box) => box.map((at, i) => margins[i % 2] + scale * at) as Box);
}

export function inputsOf(pixels: Pixels, model: Model): Input[] {
  const { config } = model;
  const { width, height } = pixels.of ?? pixels;
  if (config.readsDigits) {
    const grey = toGrey(pixels);
    return predicted(digitAndParts(grey), model).map(({ input }) => placed(input, width / grey.width, height / grey.height));
  }
  const box: Box = [0, 0, width, height];
  return [{ pixels: fitted(pixels, config.imageShape, config.inChannels), warnings: [], box }];
}

/** With the box in pixels of the whole picture. */
function placed(input: Input, across: number, down: number): Input {
  const [left, top, right, bottom] = input.box;
  return { ...input, box: [Math.floor(left * across), Math.floor(top * down), Math.ceil(right * across), Math.ceil(bottom * down)] };
}

function predicted(digit: Digit, model: Model): Predicted[] {
  const whole = oneOrTouching(digit, model);
  return digit.parts.length ? oneOrSeveral(whole, digit.parts.map((part) => predicted(part, model))) : whole;
}

/** Doubtful if one of the digits is not confident, rejected if all are. */
export function statusOf(digits: Pick<Predicted, "prediction">[]): Prediction["status"] {
  const statuses = new Set(digits.map(({ prediction }) => prediction.status));
  return statuses.size === 1 ? [...statuses][0] : statuses.size ? "doubtful" : "rejected";
}

/**
 * The predictions for all of a picture as one digit, or for its parts. Parts that are not all digits, but together look
 * like one, are pieces of one. Slashes and brackets are left out.
 */
export function oneOrSeveral(whole: Predicted[], parts: Predicted[][]): Predicted[] {
  const all = parts.flat();
  const digits = all.filter(({ input }) => !input.warnings.includes(SLASH));
  const several = digits.length && digits.length < all.length ? warned(digits, SLASH) : all;
  const [one, other] = [statusOf(whole), statusOf(several)];
  if (one === "confident" && other === "confident") {
    const boxes = parts.map((part) => hull(part.map(({ input }) => input.box)));
    const areSideBySide = boxes.every((box, n) => n === 0 || box[0] >= boxes[n - 1][2]);
    return warned(areSideBySide ? several : whole, SEVERAL);
  }
  return one === "confident" || (other === "rejected" && one !== "rejected") ? whole : several;
}

/** The same digits with a reason to doubt them. */
function warned(digits: Predicted[], warning: number): Predicted[] {
  return digits.map(({ input, prediction, softened }) => ({
    input: { ...input, warnings: [...input.warnings, warning] },
    prediction: { ...prediction, status: prediction.status === "rejected" ? "rejected" : "doubtful" },
    softened,
  }));
}

/** The prediction for ink that is one digit; or several, if it falls into segments that are all confident and, if the whole is confident, as certain as that. */
function oneOrTouching(digit: Digit, model: Model): Predicted[] {
  if (!digit.found) return [];
  const whole = predictedOne(digit, model);
  const certain = digit.segments
    .map(({ first, stop, digit: segment }) => ({ first, stop, part: predictedOne(segment, model) }))
    .filter(({ part }) => part.prediction.status === "confident");
  const end = Math.max(0, ...digit.segments.map(({ stop }) => stop));
  // For each number of digits: least certainty, and the digits, of what is left of each cut.
  let reached = new Map([[0, { least: 1, parts: [] as Predicted[] }]]);
  while (reached.size) {
    const further: typeof reached = new Map();
    for (const { first, stop, part } of certain) {
      const way = reached.get(first);
      if (!way) continue;
      const least = Math.min(way.least, part.softened);
      if (least >= (further.get(stop)?.least ?? 0)) further.set(stop, { least, parts: [...way.parts, part] });
    }
    const found = further.get(end);
    if (found) {
      const { least, parts } = found;
      if (whole.prediction.status === "confident" && least < whole.softened) return [whole];
      const isUnsure = least < MIN_CERTAINTY || parts.every(({ prediction }) => prediction.best === 1);
      return isUnsure ? warned(parts, TOUCHING) : parts;
    }
    reached = further;
  }
  return [whole];
}

function predictedOne(input: Input, model: Model): Predicted {
  const { config } = model;
  const ink = Float64Array.from(input.pixels, (value) => value / 255);
  const { logits } = forward(model, normalize(ink, config), TRAINED);
  const softened = Math.max(...softmax(logits.map((logit) => logit / config.thresholdTemperature)));
  const withWarnings = (warnings: number[]): Predicted => ({ input: { ...input, warnings }, prediction: predictionFor(logits, ink, config, warnings), softened });
  const one = withWarnings(input.warnings);
  const isCoarse = one.prediction.status === "rejected" && sideOf(input.box) <= MAX_COARSE && !input.warnings.includes(TOO_SMALL);
  return isCoarse ? withWarnings([...input.warnings, COARSE]) : one;
}

/** As `predictionOf`, with warnings by their places in `WARNINGS`; a coarse digit is not rejected. */
export function predictionFor(logits: number[], ink: Float64Array, config: Config, warnings: number[]): Prediction {
  const settings = warnings.includes(COARSE) ? { ...config, rejectedBelow: 0 } : config;
  return predictionOf(logits, ink, settings, warnings.map((warning) => WARNINGS[warning]));
}
