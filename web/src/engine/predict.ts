// From logits to a prediction that is confident, doubtful or rejected, as in clearhead.inference.

import { ranked, softmax } from "./arithmetic";
import type { Config } from "./config";

export type Status = "confident" | "doubtful" | "rejected";

export interface Prediction {
  status: Status;
  best: number; // class; if rejected, the closest
  second: number;
  probabilities: number[];
  warnings: string[]; // reasons to doubt, besides low confidence
}

/** The thresholds of the configuration apply to softmax(logits / thresholdTemperature). */
export function predictionOf(logits: number[], config: Config, warnings: string[] = []): Prediction {
  const { doubtfulBelow, rejectedBelow, thresholdTemperature } = config;
  const certainty = Math.max(...softmax(logits.map((logit) => logit / thresholdTemperature)));
  const [best, second] = ranked(logits);
  const isDoubtful = certainty < doubtfulBelow || warnings.length > 0;
  const status = certainty < rejectedBelow ? "rejected" : isDoubtful ? "doubtful" : "confident";
  return { status, best, second: second ?? best, probabilities: softmax(logits), warnings };
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
