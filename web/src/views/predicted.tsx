// The prediction in words, with its status as in `predict`, and the probabilities of all classes.

import { labelOf } from "../engine/predict";
import { Bars, Label, sentenceOf } from "../parts/prediction";
import { useStore } from "../state/store";

export function Predicted() {
  const store = useStore();
  const { config, result } = store;
  const { status, predictions, digit, run } = result.value;
  if (!run) {
    return (
      <section class="predicted" aria-label="Prediction">
        <p class="prediction-label rejected">–</p>
        <p class="prediction-words">
          {status === "small" ? "Very small: draw larger." : config.readsDigits ? "Draw a digit, or choose an example." : "Choose, paste or drop a picture."}
        </p>
        <Classes />
      </section>
    );
  }
  const prediction = predictions[digit];
  const isSeveral = predictions.length > 1;
  return (
    <section class="predicted" aria-label="Prediction">
      <Label status={prediction.status} name={config.classNames[prediction.best]} />
      <p class="prediction-words">
        {sentenceOf(prediction, config.classNames, config.readsDigits)}
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
      <Classes />
    </section>
  );
}

const MAX_BARS = 10;

function Classes() {
  const { config, result } = useStore();
  const { run, predictions, digit } = result.value;
  const best = run && predictions[digit].status !== "rejected" ? predictions[digit].best : -1;
  const order = config.classNames.map((_, i) => i);
  if (run && order.length > MAX_BARS) order.sort((a, b) => run.probabilities[b] - run.probabilities[a]);
  const classes = order.slice(0, MAX_BARS).map((i) => ({ name: config.classNames[i], share: run && run.probabilities[i] }));
  return <Bars classes={classes} best={order.indexOf(best)} />;
}
