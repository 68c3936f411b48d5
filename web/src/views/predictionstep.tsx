// From the last tokens to the prediction: pooling, logits, softmax; and the logit lens.

import { css, isLight, largestSize, shareColour, roundDomain } from "../draw/colours";
import { decimal, percent, scientific } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { TokenBars, VectorStrip } from "../parts/bars";
import { TableButton } from "../parts/controls";
import { Formula, Frac, named } from "../parts/formula";
import type { Store } from "../state/store";
import { sentenceOf } from "../parts/prediction";
import { DigitRail, Frame, Question } from "./frame";

export function PredictionStep({ store }: { store: Store }) {
  const { config, result } = store;
  const { run, predictions, digit, lens } = result.value;
  const prediction = predictions[digit];
  const { classNames } = config;
  const bars = { names: classNames.map((one) => (one.length > 5 ? `${one.slice(0, 4)}…` : one)), now: prediction?.best, height: 130 };
  const first = lens.length ? firstFinal(lens) : 0;
  const name = named(classNames[prediction?.best ?? 0]);
  const sum = run ? run.logits.reduce((all, logit) => all + Math.exp(logit), 0) : 0;
  return (
    <Frame
      store={store}
      title="One vector, one number for each class, one prediction"
      text={
        config.numPrefixTokens > 0
          ? "The class token of the last layer is normalised. One matrix turns it into a logit for each class, and softmax turns the logits into probabilities."
          : `The ${config.patches} tokens of the last layer are normalised and averaged. One matrix turns the mean into a logit for each class, and softmax turns the logits into probabilities.`
      }
      formula={
        run && prediction && (
          <Formula>
            {`P ( ${name} ) = `}
            <Frac top={`e^ℓ_${name}`} bottom="∑_c e^ℓ_c" /><mo>=</mo>
            <Frac top={`e^${decimal(run.logits[prediction.best])}`} bottom={sum > 1e5 ? scientific(sum, 2) : decimal(sum)} />
            {` = ${percent(run.probabilities[prediction.best])}`}
          </Formula>
        )
      }
      rail={<DigitRail store={store} arcs={false} />}
    >
      {run && prediction && (
        <>
          <div class="strips">
            <VectorStrip name={config.numPrefixTokens > 0 ? "class token" : "mean of the tokens"} values={run.pooled} domain={largestSize(run.pooled) || 1} />
          </div>
          <div class="pair">
            <section>
              <h3>Logits</h3>
              <TokenBars label="Logit of each class" {...bars} values={run.logits} domain={roundDomain(largestSize(run.logits))} signed />
            </section>
            <section>
              <h3>Probabilities</h3>
              <TokenBars
                label="Probability of each class"
                {...bars}
                values={run.probabilities}
                domain={1}
                text={(value) => (value >= 0.005 ? percent(value) : "")}
              />
            </section>
          </div>
          <p class="revealed">{sentenceOf(prediction, classNames, config.readsDigits)}</p>
          <section class="lens-holder">
            <div class="row">
              <h3>Logit lens: the prediction if the model ended after each layer</h3>
              <TableButton
                data={() => ({
                  caption: "Logit lens: probabilities from the classifier applied after every layer",
                  columns: ["after layer", ...classNames],
                  rows: lens.map((shares, layer) => [layer, ...shares.map(percent)]),
                })}
              />
            </div>
            <Question
              store={store}
              id="lens"
              text={`After which of the ${config.depth} layers does the final prediction, ${classNames[prediction.best]}, come first and stay?`}
              options={Array.from({ length: config.depth + 1 }, (_, i) => String(i))}
              correct={first}
              explain={() => `From layer ${first} on, the prediction is ${classNames[prediction.best]}. The classifier was trained on the last layer only, so for earlier layers this is only approximate.`}
            />
            {store.guesses.value.lens !== undefined && (
              <ol class="lens-row" start={0}>
                {lens.map((shares, layer) => {
                  const best = argmax(shares);
                  const colour = shareColour(shares[best]);
                  return (
                    <li key={layer} class={isLight(colour) ? "light" : "dark"} style={{ background: css(colour) }}>
                      <span>after {layer}</span> <b>{classNames[best]}</b> <span>{percent(shares[best])}</span>
                    </li>
                  );
                })}
              </ol>
            )}
          </section>
        </>
      )}
    </Frame>
  );
}

/** The first layer from which on the lens gives the final prediction. */
function firstFinal(lens: number[][]): number {
  const bests = lens.map(argmax);
  return bests.findLastIndex((best) => best !== bests[bests.length - 1]) + 1;
}
