// From the last tokens to the prediction: pooling, logits, softmax; and the logit lens.

import { css, isLight, largestSize, shareColour, roundDomain } from "../draw/colours";
import { decimal, percent, scientific } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { TokenBars, VectorStrip } from "../parts/bars";
import { TableButton } from "../parts/controls";
import { Formula, Frac, named } from "../parts/formula";
import { Term } from "../parts/term";
import { sentenceOf } from "../parts/prediction";
import { useShown } from "../state/store";
import { DigitRail, Frame, Question } from "./frame";

export function PredictionStep() {
  const { store, config, run, prediction, lens } = useShown();
  const { classNames, depth } = config;
  const { best } = prediction;
  const bars = { names: classNames.map((one) => (one.length > 5 ? `${one.slice(0, 4)}…` : one)), now: best, height: 130 };
  const bests = lens.map(argmax);
  const first = bests.findLastIndex((one) => one !== bests[depth]) + 1; // from there on the final prediction
  const name = named(classNames[best]);
  const sum = run.logits.reduce((all, logit) => all + Math.exp(logit), 0);
  const hasClassToken = config.numPrefixTokens > 0;
  const pooled = hasClassToken
    ? "The class token of the last layer is normalised. One matrix turns it"
    : `The ${config.patches} tokens of the last layer are normalised and averaged. One matrix turns the mean`;
  return (
    <Frame
      title="One vector, one number for each class, one prediction"
      text={<>{pooled} into one score for each class, its <Term name="logit" />, and softmax turns the logits into probabilities.</>}
      formula={
        <Formula>
          {`P ( ${name} ) = `}
          <Frac top={`e^ℓ_${name}`} bottom="∑_c e^ℓ_c" /><mo>=</mo>
          <Frac top={`e^${decimal(run.logits[best])}`} bottom={sum > 1e5 ? scientific(sum, 2) : decimal(sum)} />
          {` = ${percent(run.probabilities[best])}`}
        </Formula>
      }
      rail={<DigitRail readout="" />}
    >
      <div class="strips">
        <VectorStrip name={hasClassToken ? "class token" : "mean of the tokens"} values={run.pooled} domain={largestSize(run.pooled) || 1} />
      </div>
      <div class="pair">
        <section>
          <h3>Logits</h3>
          <TokenBars label="Logit of each class" {...bars} values={run.logits} domain={roundDomain(largestSize(run.logits))} signed />
        </section>
        <section>
          <h3>Probabilities, %</h3>
          <TokenBars label="Probability of each class" {...bars} values={run.probabilities} domain={1} text={(value) => (value >= 0.005 ? percent(value).replace("\u202f%", "") : "")} />
        </section>
      </div>
      <p class="revealed">{sentenceOf(prediction, classNames, config.readsDigits)}</p>
      <section class="lens-holder">
        <div class="row">
          <h3><Term name="logit lens">Logit lens</Term>: the prediction if the model ended after each layer</h3>
          <TableButton
            caption="Logit lens: probabilities from the classifier applied after every layer"
            columns={["after layer", ...classNames]}
            rows={() => lens.map((shares, layer) => [layer, ...shares.map(percent)])}
          />
        </div>
        <Question
          id="lens"
          text={`After which of the ${depth} layers does the final prediction, ${classNames[best]}, come first and stay?`}
          options={lens.map((_, i) => (i === 0 ? "before the first" : String(i)))}
          correct={first}
          explain={`${first === 0 ? "Even before the first layer" : `From layer ${first} on`}, the prediction is ${classNames[best]}. The classifier was trained on the last layer only, so for earlier layers this is only approximate.`}
        />
        {store.guesses.value.lens !== undefined && (
          <ol class="lens-row" start={0}>
            {lens.map((shares, layer) => {
              const share = shares[bests[layer]];
              const colour = shareColour(share);
              return (
                <li key={layer} class={isLight(colour) ? "light" : "dark"} style={{ background: css(colour) }}>
                  <span>after {layer}</span> <b>{classNames[bests[layer]]}</b> <span>{percent(share)}</span>
                </li>
              );
            })}
          </ol>
        )}
      </section>
    </Frame>
  );
}
