// A prediction: its label, what is said of it, and the probabilities of classes.

import { percent } from "../draw/numbers";
import type { Prediction } from "../engine/predict";

type Said = Pick<Prediction, "status" | "best" | "second" | "probabilities"> & Partial<Prediction>;

/** What the pages say of a prediction. */
export function sentenceOf({ status, best, second, probabilities, certainty, rejectedBelow = 0, warnings = [] }: Said, names: string[], isDigit: boolean): string {
  const warned = warnings.map((warning) => ` ${warning}`).join("");
  if (status === "confident") {
    const next = probabilities[second] >= 0.1 ? ` Next is ${names[second]}, ${percent(probabilities[second])}.` : "";
    return `Prediction: ${names[best]}, with a probability of ${percent(probabilities[best])}.${next}`;
  }
  if (status === "doubtful") {
    return `Doubtful: ${names[best]} ${percent(probabilities[best])}, or ${names[second]} ${percent(probabilities[second])}.${warned}`;
  }
  const unlike = `Not recognised as ${isDigit ? "a digit" : "one of its classes"}`;
  const why = certainty === undefined ? "" : `: its certainty, ${percent(certainty)}, is below the threshold of ${percent(rejectedBelow)}`;
  return `${unlike}${why}. The closest is ${names[best]}, ${percent(probabilities[best])}.`;
}

/** The label in large letters: "?" for a rejected picture. */
export function Label({ status, name }: { status: Prediction["status"] | "empty"; name: string }) {
  return (
    <p class={`prediction-label ${status} ${name.length > 3 ? "long" : ""}`}>
      {name}
      {status === "doubtful" && <span class="mark">?</span>}
    </p>
  );
}

interface BarsProps {
  caption?: string;
  classes: { name: string; share: number | null }[]; // without a share before the first prediction
  best: number; // which class is emphasised; -1 for none
}

export function Bars({ caption, classes, best }: BarsProps) {
  return (
    <table class="bars">
      <caption class={caption ? "small" : "hidden"}>{caption ?? "Probability of each class"}</caption>
      <tbody>
        {classes.map(({ name, share }, i) => (
          <tr key={i} class={i === best ? "best" : ""}>
            <th scope="row">{name}</th>
            <td class="bar">
              <span style={{ width: `${(share ?? 0) * 100}%` }} />
            </td>
            <td class="value" data-number="probability">{share === null ? "–" : percent(share)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
