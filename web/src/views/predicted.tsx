// The prediction in words, with its status as in `predict`, and the probabilities of all classes.

import { percent } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { labelOf } from "../engine/predict";
import { Term } from "../parts/term";
import { Bars, Label, sentenceOf } from "../parts/prediction";
import { earlyShares, useStore } from "../state/store";

const MAX_BARS = 10;

export function Predicted() {
  const store = useStore();
  const { config: { classNames, readsDigits }, result, flow } = store;
  const { status, predictions, digit, prediction } = result.value;
  const early = earlyShares(store);
  const shares = early ?? prediction?.probabilities;
  const order = classNames.map((_, i) => i);
  if (shares && order.length > MAX_BARS) order.sort((a, b) => shares[b] - shares[a]);
  const classes = order.slice(0, MAX_BARS).map((i) => ({ name: classNames[i], share: shares?.[i] ?? null }));
  const leading = early ? argmax(early) : prediction && prediction.status !== "rejected" ? prediction.best : -1;
  const missing = status === "small" ? "Very small: draw larger." : readsDigits ? "Draw a digit, or choose an example." : "Choose, paste or drop a picture.";
  const words = early
    ? `If the model ended after layer ${flow.value}: ${classNames[leading]}, ${percent(early[leading])}.`
    : prediction ? sentenceOf(prediction, classNames, readsDigits) : missing;
  const label = early ? classNames[leading] : labelOf(predictions, classNames, readsDigits) || "–";
  return (
    <section class="predicted" aria-label="Prediction">
      <Label status={early ? "confident" : (prediction?.status ?? "empty")} name={label} />
      {predictions.length > 1 && (
        <p class="several">
          {predictions.length} digits: <b>{labelOf(predictions, classNames, true)}</b>. Follow{" "}
          {predictions.map((one, i) => (
            <button type="button" key={i} aria-pressed={i === digit} onClick={() => store.set({ digit: i })}>
              {labelOf([one], classNames, true)}
            </button>
          ))}
        </p>
      )}
      <p class="prediction-words">
        {words} {!early && prediction?.status === "rejected" && <Term name="certainty">What is certainty?</Term>}
      </p>
      <Bars classes={classes} best={order.indexOf(leading)} />
    </section>
  );
}
