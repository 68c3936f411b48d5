// What the page is, its check of its own numbers, the model, and the keys.

import { countWeights } from "../data/payload";
import { decimal, scientific } from "../draw/numbers";
import { TableButton } from "../parts/controls";
import { TERMS } from "../parts/term";
import { store } from "../state/store";

const SOURCES = [
  "Attention: Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762.",
  "Vision Transformer: Dosovitskiy et al. 2021, arXiv 2010.11929.",
  "Rollout: Abnar and Zuidema 2020, arXiv 2005.00928. Logit lens: nostalgebraist 2020.",
  "Colours: Nuñez, Anderton and Renslow 2018 (cividis).",
];

export function About() {
  const { payload, config, examples } = store;
  const { accuracy, tensors } = payload;
  const { difference, failed, computed } = examples.value;
  const weights = countWeights(tensors);
  const facts: [string, string][] = [
    ["Name", payload.name],
    ["Picture", `${config.imageShape.join(" × ")} pixels, ${config.inChannels === 1 ? "grey" : `${config.inChannels} channels`}`],
    ["Classes", config.classNames.join(", ")],
    ["Tokens", `${config.tokens} of ${config.embedDim} numbers`],
    ["Layers × heads", `${config.depth} × ${config.numHeads}, ${config.headDim} numbers per head`],
    ["Weights", `${weights.toLocaleString("en-GB")}, rounded to half precision`],
    [
      "Accuracy",
      accuracy
        ? `${decimal((accuracy.correct / accuracy.total) * 100)} % of ${accuracy.total.toLocaleString("en-GB")} test pictures (${decimal((accuracy.full / accuracy.total) * 100)} % with the full weights)`
        : "not measured for this model",
    ],
    ["Clearhead", payload.version],
  ];
  return (
    <div class="about">
      <h2 tabIndex={-1}>About this page</h2>
      <p class="lead">
        This file holds a whole Vision Transformer and runs it in the browser. It makes no network request; drawings and pictures never
        leave it.
      </p>
      <div class="columns">
        <section>
          <h3>Self-check</h3>
          <p data-number="self-check">
            {failed
              ? `Failed: logits differ from PyTorch's by up to ${scientific(difference)}.`
              : computed === payload.examples.length
                ? `Passed: on ${computed} drawings the logits differ from PyTorch's (double precision, same rounded weights) by at most ${scientific(difference)}.`
                : "Computing the example drawings …"}
          </p>
          <h3>Model</h3>
          <dl class="facts">
            {facts.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
          <h3>Sources</h3>
          <ul>
            {SOURCES.map((source) => (
              <li key={source}>{source}</li>
            ))}
          </ul>
        </section>
        <section>
          <h3>Reading the figures</h3>
          <ul>
            <li>Light is ink. Layers, heads and patches count from 1: L3 H2, patch 11.</li>
            <li>Weights: cividis from 0 to 100 %, on a square-root scale, so that small weights differ visibly. A badge shows when a scale is stretched.</li>
            <li>Signed numbers run from orange (negative, a fall) to blue (positive, a rise).</li>
            <li>Attention weights show which values a head mixes. They do not explain a prediction; experiments do.</li>
          </ul>
          <p><TableButton text="All terms of the page" caption="Terms" columns={["term", "meaning"]} rows={Object.entries(TERMS)} /></p>
          <h3>Keys</h3>
          <ul>
            <li>← and → lead to the step before and after, unless a control uses them. Tab moves between controls; arrow keys move inside pictures, matrices and choices; Home and End go to the ends of a row, with Ctrl to the corners.</li>
            {config.readsDigits && <li>On the pad: arrows move the pen, with Shift four times as far; Space lowers or lifts it; Backspace removes a stroke; Escape leaves the pad.</li>}
          </ul>
        </section>
      </div>
      <p>
        <button type="button" class="primary" onClick={() => store.go("draw")}>Back to the picture</button>
      </p>
    </div>
  );
}
