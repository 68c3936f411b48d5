// The explanation of a picture: prediction, attention, what the prediction depends on, and the proof.

import { useMemo, useState } from "preact/hooks";

import { bytesOf } from "../data/base64";
import type { ScaleMode } from "../draw/colours";
import { percent, scientific } from "../draw/numbers";
import { Table } from "../parts/controls";
import { Bars, Label, sentenceOf } from "../parts/prediction";
import { Attention } from "./attention";
import type { PictureData } from "./data";
import { Influences } from "./influences";
import { Report } from "./report";

const MAX_OPEN_PROOFS = 12;

/** What is selected on the whole page. */
export interface Chosen {
  layer: number; // place among the kept layers
  head: number;
  window: number;
  query: number; // token
  key: number | null; // token; null for the one with the largest weight
  scale: ScaleMode;
}

export interface PartProps {
  data: PictureData;
  ink: Float64Array | null; // of a drawing, 0 to 1
  chosen: Chosen;
  choose: (changes: Partial<Chosen>) => void;
}

export function PictureReport({ data, weights }: { data: PictureData; weights: Float64Array }) {
  const [chosen, setChosen] = useState<Chosen>({ ...data.start, window: 0, key: null, scale: "fixed" });
  const ink = useMemo(() => (data.ink ? Float64Array.from(bytesOf(data.ink), (byte) => byte / 255) : null), []);
  const part: PartProps = { data, ink, chosen, choose: (changes) => setChosen({ ...chosen, ...changes }) };
  return (
    <Report title={data.name} note={`classified by ${data.model}`} foot="Weights are rounded to 1/65535.">
      <Prediction data={data} />
      <Attention {...part} weights={weights} />
      <Influences {...part} />
      <Proof data={data} />
    </Report>
  );
}

function Prediction({ data }: { data: PictureData }) {
  const { status, classes, numClasses, picture, channels, address, original, warnings } = data;
  const names = classes.map(([name]) => name);
  const probabilities = classes.map(([, share]) => share);
  const [best = 0, second = best] = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  return (
    <section class="prediction">
      {original && (
        <figure>
          <img src={original} alt="The picture" />
          <figcaption class="small">The picture</figcaption>
        </figure>
      )}
      <figure>
        <img id="model-input" src={address} alt="The model input" class={picture.ink ? "numbers" : ""} />
        <figcaption class="small">
          Model input: {picture.width} × {picture.height} pixels, {channels === 1 ? "grey" : "colour"}
        </figcaption>
      </figure>
      <div class="predicted">
        {classes.length > 0 && <Label status={status} name={status === "rejected" ? "?" : names[best]} />}
        <p class="prediction-words" id="prediction">
          {classes.length > 0 ? sentenceOf({ status, best, second, probabilities }, names, picture.ink) : "No prediction."}
        </p>
        {warnings.map((warning) => <p key={warning} class="warning">{warning}</p>)}
      </div>
      {classes.length > 0 && (
        <Bars
          caption={classes.length < numClasses ? `The most probable of ${numClasses.toLocaleString("en-GB")} classes` : "Probability of each class"}
          classes={classes.map(([name, share]) => ({ name, share }))}
          best={status === "rejected" ? -1 : best}
        />
      )}
    </section>
  );
}

function Proof({ data: { proofs } }: { data: PictureData }) {
  return (
    <section class="proof">
      <h2>Proof</h2>
      <p class="lead">
        All {proofs.length} attention layers of this model ran under one capture. Their weights were computed again from queries, keys and
        values and compared with the model’s own output: every difference lies within what rounding explains.
      </p>
      <details id="proof" open={proofs.length <= MAX_OPEN_PROOFS}>
        <summary>The errors</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label="Errors of each layer">
          <Table
            caption="Largest errors of each layer"
            columns={["layer", "row sums − 1", "weight on masked keys", "weights · V − output", "tolerance"]}
            rows={proofs.map(([name, ...errors]) => [name, ...errors.map((error) => scientific(error))])}
          />
        </div>
      </details>
    </section>
  );
}

/** "99.99 % to 99.65 %". */
export function change(before: number, after: number): string {
  return `${percent(before)} to ${percent(after)}`;
}
