// The prediction in words, with its status as in `predict`, and the probabilities of all classes.

import { labelOf } from "../engine/predict";
import { Bars, Label, sentenceOf } from "../parts/prediction";
import { useStore } from "../state/store";

const MAX_BARS = 10;

export function Predicted() {
  const store = useStore();
  const { config: { classNames, readsDigits }, result } = store;
  const { status, predictions, digit, prediction } = result.value;
  const shares = prediction?.probabilities;
  const order = classNames.map((_, i) => i);
  if (shares && order.length > MAX_BARS) order.sort((a, b) => shares[b] - shares[a]);
  const classes = order.slice(0, MAX_BARS).map((i) => ({ name: classNames[i], share: shares?.[i] ?? null }));
  const best = prediction && prediction.status !== "rejected" ? order.indexOf(prediction.best) : -1;
  const missing = status === "small" ? "Very small: draw larger." : readsDigits ? "Draw a digit, or choose an example." : "Choose, paste or drop a picture.";
  return (
    <section class="predicted" aria-label="Prediction">
      {prediction ? <Label status={prediction.status} name={classNames[prediction.best]} /> : <p class="prediction-label rejected">–</p>}
      <p class="prediction-words">{prediction ? sentenceOf(prediction, classNames, readsDigits) : missing}</p>
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
      <Bars classes={classes} best={best} />
    </section>
  );
}
