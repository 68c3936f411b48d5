// The explanation of a picture: prediction, attention, what the prediction depends on, and the verification.

import { useMemo, useState } from "preact/hooks";

import { bytesOf } from "../data/payload";
import { largestSize, roundDomain, type ScaleMode } from "../draw/colours";
import { isDense } from "../draw/geometry";
import { decimal, percent, points, scientific, signed } from "../draw/numbers";
import { ranked } from "../engine/arithmetic";
import { Table, TableButton } from "../parts/controls";
import { MeasureMap, measureTable, type Measure } from "../parts/digitmap";
import { Bars, Label, sentenceOf } from "../parts/prediction";
import { SignedScale } from "../parts/scale";
import { Attention } from "./attention";
import { layoutOf, type MeasureName, type PictureData } from "./data";
import { Report } from "./report";

const MAX_OPEN_LAYERS = 12;

/** What is selected on the whole page. */
interface Chosen {
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
      <Verification data={data} />
    </Report>
  );
}

function Prediction({ data }: { data: PictureData }) {
  const { status, classes, numClasses, picture, channels, address, original, warnings } = data;
  const names = classes.map(([name]) => name);
  const probabilities = classes.map(([, share]) => share);
  const [best = 0, second = best] = ranked(probabilities);
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

type Kind = Omit<Measure, "values" | "domain"> & { factor?: number }; // `factor` from values to the unit of the scale

const MEASURES: Record<MeasureName, Kind> = {
  rollout: {
    title: "Rollout",
    note: "Where information can have come from, through all layers and heads together. It uses neither values nor the class.",
    unit: "per cent",
    write: percent,
  },
  relevance: {
    title: "Relevance",
    note: "Attention weighted by its gradient for the predicted class: what supported it, to first order.",
    unit: "per cent",
    write: percent,
  },
  shapley: {
    title: "Shapley values",
    note: "The effect of the patch on the log-odds of the predicted class, averaged over all orders in which patches can replace black. Exact for up to 12 patches with ink. Blue: for the class.",
    unit: "log-odds",
    write: signed,
    factor: 1,
  },
  masking: {
    title: "Masking",
    note: "Change of the predicted class’s probability when no token may attend to the patch, in any layer. Orange: it falls.",
    unit: "points",
    write: points,
    factor: 100,
  },
};

/** Measures of what the prediction depends on, side by side. */
function Influences({ data, ink, chosen, choose }: PartProps) {
  const { influence, reasons, correlations, grid } = data;
  const layout = grid && layoutOf(data, { on_grid: true, keys: grid.prefix.length + grid.rows * grid.columns });
  const above = new Array<number>(grid?.prefix.length ?? 0).fill(0);
  const measures = (Object.keys(MEASURES) as MeasureName[]).map((id) => {
    const { factor, ...kind } = MEASURES[id];
    const found = layout && influence[id].values;
    if (!found) return { ...kind, id, values: null };
    const values = id === "masking" ? found.map((fall) => -fall) : found; // as a change, so that a fall is negative
    const domain = factor && roundDomain(Math.max(1, largestSize(values) * factor)) / factor; // never finer than one unit
    return { ...kind, id, factor, domain, values: factor ? [...above, ...values] : values };
  });
  const known = measures.filter(({ values }) => values) as Measure[];
  return (
    <section class="influence">
      <h2>What the prediction depends on</h2>
      <p class="lead">These measures have different meanings; only Shapley values are exact for the question they answer.</p>
      <div class="maps">
        {measures.map((measure) =>
          measure.values && layout ? (
            <MeasureMap
              key={measure.id}
              {...measure}
              config={layout}
              ink={ink}
              address={ink || isDense(layout) ? undefined : data.address}
              blank={data.picture.blank}
              chosen={chosen.query < layout.tokens ? chosen.query : 0}
              scale={chosen.scale}
              choose={(query) => choose({ query, key: null })}
            >
              {measure.domain ? (
                <SignedScale domain={measure.domain * (measure.factor ?? 1)} unit={` ${measure.unit}`} />
              ) : (
                <p class="small">Per cent; uniform is {percent(1 / measure.values.length)}. Colours as above.</p>
              )}
            </MeasureMap>
          ) : (
            <figure key={measure.id} id={measure.id}>
              <figcaption>
                <b>{measure.title}</b> <span class="small">{measure.note}</span>
              </figcaption>
              <p class="small missing">Not available: {reasons[measure.id]}.</p>
            </figure>
          ),
        )}
      </div>
      {correlations.length > 0 && (
        <p id="correlations">
          Spearman’s rank correlation over the patches, from −1 through 0 (unrelated) to 1:{" "}
          {correlations.map(([a, b, value]) => `${a} and ${b} ${decimal(value)}`).join(", ")}.
        </p>
      )}
      {layout && known.length > 0 && <TableButton text="Table of these maps" {...measureTable("What the prediction depends on", known, layout)} />}
    </section>
  );
}

function Verification({ data: { verifications } }: { data: PictureData }) {
  return (
    <section class="verification">
      <h2>Verification</h2>
      <p class="lead">
        All {verifications.length} attention layers of this model ran under one capture. Their weights were computed again from queries, keys and
        values and compared with the model’s own output: every difference lies within what rounding explains.
      </p>
      <details id="verification" open={verifications.length <= MAX_OPEN_LAYERS}>
        <summary>The errors</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label="Errors of each layer">
          <Table
            caption="Largest errors of each layer"
            columns={["layer", "row sums − 1", "weight on masked keys", "weights · V − output", "tolerance"]}
            rows={verifications.map(([name, ...errors]) => [name, ...errors.map((error) => scientific(error))])}
          />
        </div>
      </details>
    </section>
  );
}
