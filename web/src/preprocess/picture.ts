// From a picture to the digits that the page shows, as `predict` does: whether its ink is one digit or several is
// decided by what the model predicts for each.

import { softmax } from "../engine/arithmetic";
import { TRAINED } from "../engine/interventions";
import { normalize } from "../engine/patches";
import { predictionOf, type Prediction } from "../engine/predict";
import { forward, type Model } from "../engine/vit";
import { SEVERAL, TOUCHING, WARNINGS, digitAndParts, type Digit } from "./digits";
import { fitted, pixelsOf, toGrey, type Pixels } from "./image";

const MIN_CERTAINTY = 0.3; // of digits that touch

export type Input = Pick<Digit, "pixels" | "warnings" | "box">;

interface Predicted {
  input: Input;
  prediction: Prediction;
  softened: number; // probability of the label, with the thresholds' temperature
}

/** The model inputs for a file: each digit in reading order; for a model of other classes, the whole picture. */
export async function inputsOfFile(file: Blob, model: Model): Promise<Input[]> {
  return inputsOf(await pixelsOf(file, model.config.readsDigits), model);
}

export function inputsOf(pixels: Pixels, model: Model): Input[] {
  const { config } = model;
  if (config.readsDigits) return predicted(digitAndParts(toGrey(pixels)), model).map(({ input }) => input);
  const box: Input["box"] = [0, 0, pixels.width, pixels.height];
  return [{ pixels: fitted(pixels, config.imageShape, config.inChannels), warnings: [], box }];
}

function predicted(digit: Digit, model: Model): Predicted[] {
  const whole = oneOrTouching(digit, model);
  return digit.parts.length ? oneOrSeveral(whole, digit.parts.flatMap((part) => predicted(part, model))) : whole;
}

/** Doubtful if one of the digits is not confident, rejected if all are. */
export function statusOf(digits: Pick<Predicted, "prediction">[]): Prediction["status"] {
  const statuses = new Set(digits.map(({ prediction }) => prediction.status));
  return statuses.size === 1 ? [...statuses][0] : statuses.size ? "doubtful" : "rejected";
}

/** The predictions for all of a picture as one digit, or for its parts. Parts that are not all digits, but together look like one, are pieces of one. */
function oneOrSeveral(whole: Predicted[], several: Predicted[]): Predicted[] {
  const [one, all] = [statusOf(whole), statusOf(several)];
  if (one === "confident" && all === "confident") {
    const areSideBySide = several.every(({ input }, n) => n === 0 || input.box[0] >= several[n - 1].input.box[2]);
    return warned(areSideBySide ? several : whole, SEVERAL);
  }
  return one === "confident" || (all === "rejected" && one !== "rejected") ? whole : several;
}

/** The same digits with a reason to doubt them. */
function warned(digits: Predicted[], warning: number): Predicted[] {
  return digits.map((digit) => ({ ...digit, input: { ...digit.input, warnings: [warning] } }));
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

function predictedOne(input: Digit, model: Model): Predicted {
  const { config } = model;
  const ink = Float64Array.from(input.pixels, (value) => value / 255);
  const { logits } = forward(model, normalize(ink, config), TRAINED);
  const prediction = predictionOf(logits, ink, config, input.warnings.map((warning) => WARNINGS[warning]));
  return { input, prediction, softened: Math.max(...softmax(logits.map((logit) => logit / config.thresholdTemperature))) };
}
