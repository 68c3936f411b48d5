// From logits to a prediction that is confident, doubtful or rejected, as in clearhead.inference.

import { ranked, softmax } from "./arithmetic";
import type { Config, Size } from "./config";

export type Status = "confident" | "doubtful" | "rejected";

export interface Prediction {
  status: Status;
  best: number; // class; if rejected, the closest
  second: number;
  probabilities: number[];
  certainty?: number;
  rejectedBelow?: number; // a prediction with a lower certainty is rejected
  warnings: string[]; // reasons to doubt, besides low confidence
}

/** The thresholds of the configuration apply to the certainty. */
export function predictionOf(logits: number[], ink: Float64Array, config: Config, warnings: string[] = []): Prediction {
  const { doubtfulBelow, rejectedBelow } = config;
  const certainty = certaintyOf(logits, ink, config);
  const [best, second] = ranked(logits);
  const isCalibrated = doubtfulBelow < 1; // a certainty may be rounded to 1
  const isDoubtful = !isCalibrated || certainty < doubtfulBelow || warnings.length > 0;
  const status = certainty < rejectedBelow ? "rejected" : isDoubtful ? "doubtful" : "confident";
  return { status, best, second: second ?? best, probabilities: softmax(logits), certainty, rejectedBelow, warnings };
}

/** As `certainty_of` in clearhead.inference. */
export function certaintyOf(logits: number[], ink: Float64Array, { thresholdTemperature, certaintyWeights, imageShape }: Config): number {
  const softened = Math.max(...softmax(logits.map((logit) => logit / thresholdTemperature)));
  if (certaintyWeights.length === 0) return softened;
  const mean = logits.reduce((sum, logit) => sum + logit, 0) / logits.length;
  const spread = Math.sqrt(logits.reduce((sum, logit) => sum + (logit - mean) ** 2, 0) / logits.length);
  const counts = [...strokesAcross(ink, imageShape, false), ...strokesAcross(ink, imageShape, true)];
  const features = [Math.log(softened), spread, ...counts, ...counts.map((count) => count ** 2)];
  const [intercept, ...weights] = certaintyWeights;
  const logOdds = features.reduce((sum, feature, i) => sum + weights[i] * feature, intercept);
  return Math.min(1 / (1 + Math.exp(-logOdds)), Math.max(...softmax(logits)));
}

/** Mean and maximum over the columns, or the rows, of half of the total variation of the ink. */
function strokesAcross(ink: Float64Array, [height, width]: Size, rows: boolean): [number, number] {
  const [lines, length] = rows ? [height, width] : [width, height];
  const variations = Array.from({ length: lines }, (_, line) => {
    let sum = 0;
    let before = 0;
    for (let i = 0; i < length; i++) {
      const value = ink[rows ? line * width + i : i * width + line];
      sum += Math.abs(value - before);
      before = value;
    }
    return (sum + before) / 2;
  });
  return [variations.reduce((sum, value) => sum + value, 0) / lines, Math.max(...variations)];
}

/** The labels of all predictions in one text, "?" for a rejected one. */
export function labelOf(predictions: Prediction[], classNames: string[], digits: boolean): string {
  const labels = predictions.map(({ status, best }) => (status === "rejected" ? "?" : classNames[best]));
  return labels.join(digits ? "" : ", ");
}

/** ln(P / (1 - P)) of a class; unlike the probability it does not saturate. */
export function logOdds(probabilities: number[], target: number): number {
  const others = probabilities.reduce((sum, share, i) => (i === target ? sum : sum + share), 0);
  return Math.log(probabilities[target]) - Math.log(others);
}
