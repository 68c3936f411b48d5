// The end of the path: cases worth showing, and what to keep.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { roundDomain, signedColour } from "../draw/colours";
import { tokenName } from "../draw/geometry";
import { percent, signed } from "../draw/numbers";
import { lastLayer, rollout } from "../engine/maps";
import { logOdds } from "../engine/predict";
import { planShapley } from "../engine/influence";
import { DigitMap, MeasureMap } from "../parts/digitmap";
import { TableButton } from "../parts/controls";
import { SignedScale } from "../parts/scale";
import { Term } from "../parts/term";
import { casesOf } from "../state/cases";
import { whenIdle } from "../state/idle";
import { trainedState } from "../state/state";
import { useShown, useStore } from "../state/store";
import { Predicted } from "./predicted";
import { Effect, Try, WayOn } from "./frame";

export function Gallery() {
  const store = useStore();
  const { config, state, result } = store;
  const cases = casesOf(config);
  const open = cases[state.value.case - 1];
  return (
    <>
      <div class="step-head">
        <h2 tabIndex={-1}>{config.readsDigits ? "Gallery: six cases, three things to keep" : "Three things to keep"}</h2>
        <WayOn />
      </div>
      <div class="step-body gallery">
        <div class="cards" role="group" aria-label="Cases">
          {cases.map((one, i) => (
            <button
              type="button"
              key={one.title}
              class="card"
              aria-pressed={one === open}
              onClick={() => store.set({ ...trainedState(), ...one.state(store.payload, config), case: i + 1 })}
            >
              <b>{one.title}</b>
              <span>{one.question}</span>
            </button>
          ))}
        </div>
        <div class="content">
          <p class="lead">{open ? open.text : "Choose a case: each brings its picture, and sets up the model."}</p>
          {open && (open.maps && result.value.run ? <Maps /> : <Shown />)}
          <ol class="takeaways">
            <li><b>Attention mixes.</b> Every token becomes a weighted sum of values, weighted by how well its query matches the keys.</li>
            <li><b>√d and softmax set how sharp the weights are.</b> The model was trained with both, and fails in its own way without them.</li>
            <li><b>A large weight is not a reason.</b> What the prediction depends on is found by changing something and looking again.</li>
          </ol>
        </div>
      </div>
    </>
  );
}

/** What maps of the picture have in common. */
function useMap() {
  const { config, result, state, set } = useStore();
  const { ink, blank } = result.value;
  return { config, ink, blank, chosen: state.value.query, choose: (query: number) => set({ query }) };
}

function Shown() {
  return (
    <div class="case">
      <DigitMap label="Patches of the picture" {...useMap()} />
      <div>
        <Predicted />
        <Effect />
      </div>
    </div>
  );
}

/** Exact Shapley values of the picture's patches, once they are asked for. */
function useShapley(target: number) {
  const { model, result } = useStore();
  const input = result.value.inputs[result.value.digit];
  const plan = useMemo(() => planShapley(model, input, target), [input, target]);
  const [done, setDone] = useState<number | null>(null);
  const stop = useRef(() => {});
  useEffect(() => {
    setDone(null);
    return () => stop.current();
  }, [plan]);
  const total = plan.pieces.length;
  const values = useMemo(() => (done === total ? plan.values() : null), [plan, done]);
  return { done, values, total, start: () => (stop.current = whenIdle(plan.pieces, setDone)) };
}

/** Attention maps of the image beside the effects of masking patches and their exact Shapley values. */
function Maps() {
  const { store, config, run, prediction: { best } } = useShown();
  const { numPrefixTokens, tokens } = config;
  const common = useMap();
  const masking = store.influence.value?.masked.map((after) => (after ? logOdds(after, best) - logOdds(run.probabilities, best) : 0));
  const shapley = useShapley(best);
  const shares = [
    { title: "Last layer", note: "mean attention to each patch", values: lastLayer(run, config) },
    { title: "Rollout", note: "attention multiplied through all layers", values: rollout(run, config) },
  ];
  const effects = [
    ...(masking ? [{ title: "Masking", note: "change of the log-odds if nothing attends to the patch", values: masking }] : []),
    ...(shapley.values ? [{ title: "Exact Shapley values", note: `mean effect of the patch over all ${shapley.total.toLocaleString("en-GB")} sets of patches`, values: [...new Array(numPrefixTokens).fill(0), ...shapley.values] }] : []),
  ];
  const domain = roundDomain(Math.max(0.1, ...effects.flatMap(({ values }) => values.map(Math.abs))));
  const scale = { text: signed, colour: (value: number) => signedColour(value, domain) };
  return (
    <>
      <div class="maps">
        {shares.map((measure) => <MeasureMap key={measure.title} {...common} {...measure} />)}
        {effects.map((measure) => <MeasureMap key={measure.title} {...common} {...measure} signed={scale} />)}
      </div>
      {!shapley.values && (
        <Try>
          <button type="button" disabled={shapley.done !== null} onClick={shapley.start}>
            Compute exact Shapley values
          </button>
          <span class="small">
            {shapley.done === null
              ? `${shapley.total.toLocaleString("en-GB")} forward passes, here in the browser`
              : `${shapley.done.toLocaleString("en-GB")} of ${shapley.total.toLocaleString("en-GB")}`}
          </span>
        </Try>
      )}
      <div class="row">
        <p class="small"><Term name="rollout">Rollout</Term> and last layer: per cent; uniform is {percent(1 / tokens)}. Masking and <Term name="Shapley value">Shapley values</Term>: <Term name="log-odds" /> of {config.classNames[best]}.</p>
        {effects.length > 0 && <SignedScale domain={domain} />}
        <TableButton
          caption="Measures of every patch"
          columns={["patch", ...shares.map(({ title }) => title), ...effects.map(({ title }) => `${title}, log-odds`)]}
          rows={() =>
            Array.from({ length: tokens }, (_, token) => [
              tokenName(token, config),
              ...shares.map(({ values }) => percent(values[token])),
              ...effects.map(({ values }) => signed(values[token])),
            ])
          }
        />
      </div>
    </>
  );
}
