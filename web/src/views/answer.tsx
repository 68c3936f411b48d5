// The answer in words, with its status as in `predict`, and the probabilities of all classes.

import { labelOf, type Prediction } from "../engine/predict";
import { percent, probability } from "../draw/numbers";
import type { Store } from "../state/store";

/** What the page says of a prediction. */
export function sentenceOf({ status, best, second, probabilities }: Prediction, names: string[], noun: string): string {
  if (status === "confident") {
    const next = probabilities[second] >= 0.1 ? ` Next is ${names[second]}, ${percent(probabilities[second])}.` : "";
    return `Prediction: ${names[best]}, with a probability of ${probability(probabilities[best])}.${next}`;
  }
  if (status === "doubtful") {
    return `Doubtful: ${names[best]} ${probability(probabilities[best])}, or ${names[second]} ${percent(probabilities[second])}.`;
  }
  return `Not recognised as ${noun}. The closest is ${names[best]}, ${probability(probabilities[best])}.`;
}

export function Answer({ store }: { store: Store }) {
  const { config, result } = store;
  const { status, predictions, digit, run } = result.value;
  const noun = config.readsDigits ? "a digit" : "one of its classes";
  if (!run) {
    return (
      <section class="answer" aria-label="Answer">
        <p class="answer-label rejected">–</p>
        <p class="answer-words">{status === "small" ? "Very small: draw larger." : config.readsDigits ? "Draw a digit, or choose an example." : "Choose, paste or drop a picture."}</p>
        <Bars store={store} />
      </section>
    );
  }
  const prediction = predictions[digit];
  const isSeveral = predictions.length > 1;
  return (
    <section class="answer" aria-label="Answer">
      <p class={`answer-label ${prediction.status} ${config.classNames[prediction.best].length > 3 ? "long" : ""}`}>
        {prediction.status === "rejected" ? "?" : config.classNames[prediction.best]}
        {prediction.status === "doubtful" && <span class="mark">?</span>}
      </p>
      <p class="answer-words">
        {sentenceOf(prediction, config.classNames, noun)}
      </p>
      {isSeveral && (
        <p class="several">
          {predictions.length} digits: <b>{labelOf(predictions, config.classNames, true)}</b>. Follow{" "}
          {predictions.map((one, i) => (
            <button type="button" key={i} aria-pressed={i === digit} onClick={() => store.set({ digit: i })}>
              {one.status === "rejected" ? "?" : config.classNames[one.best]}
            </button>
          ))}
        </p>
      )}
      <Bars store={store} />
    </section>
  );
}

const MAX_BARS = 10;

export function Bars({ store }: { store: Store }) {
  const { config, result } = store;
  const { run, predictions, digit } = result.value;
  const best = run && predictions[digit].status !== "rejected" ? predictions[digit].best : -1;
  const order = config.classNames.map((_, i) => i);
  if (run && order.length > MAX_BARS) order.sort((a, b) => run.probabilities[b] - run.probabilities[a]);
  return (
    <table class="bars">
      <caption class="hidden">Probability of each class</caption>
      <tbody>
        {order.slice(0, MAX_BARS).map((i) => {
          const share = run?.probabilities[i] ?? 0;
          return (
            <tr key={i} class={i === best ? "best" : ""}>
              <th scope="row">{config.classNames[i]}</th>
              <td class="bar">
                <span style={{ width: `${share * 100}%` }} />
              </td>
              <td class="value" data-number="probability">{run ? percent(share) : "–"}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
