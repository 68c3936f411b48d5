// The end of the path: cases worth showing, and what to keep.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { roundDomain, signedColour } from "../draw/colours";
import { tokenName } from "../draw/geometry";
import { percent, signed } from "../draw/numbers";
import { lastLayer, rollout } from "../engine/maps";
import { logOdds } from "../engine/predict";
import { planShapley } from "../engine/shapley";
import { DigitMap } from "../parts/digitmap";
import { TableButton } from "../parts/controls";
import { MeasureMap } from "../parts/measuremap";
import { SignedScale } from "../parts/scale";
import { casesOf } from "../state/cases";
import { trainedState } from "../state/state";
import type { Store } from "../state/store";
import { Predicted } from "./predicted";
import { Effect } from "./inputsteps";
import { Try, WayOn } from "./frame";

export function Gallery({ store }: { store: Store }) {
  const { config, state } = store;
  const cases = casesOf(config);
  const open = state.value.case - 1;
  const shown = open < 0 ? null : cases[open];
  const show = (i: number): void => store.set({ ...trainedState(), ...cases[i].state(store.payload, config), case: i + 1 });
  return (
    <>
      <div class="step-head">
        <h2 tabIndex={-1}>{config.readsDigits ? "Gallery: six cases, three things to keep" : "Three things to keep"}</h2>
        <WayOn store={store} />
      </div>
      <div class="step-body gallery">
        <div class="cards" role="group" aria-label="Cases">
          {cases.map(({ title, question }, i) => (
            <button type="button" key={title} class="card" aria-pressed={i === open} onClick={() => show(i)}>
              <b>{title}</b>
              <span>{question}</span>
            </button>
          ))}
        </div>
        <div class="content">
          {shown ? (
            <>
              <p class="lead">{shown.text}</p>
              {shown.maps ? <Maps store={store} /> : <Shown store={store} />}
            </>
          ) : (
            <p class="lead">Choose a case. Each one sets up the model and the picture; the strip above shows the rest.</p>
          )}
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

function Shown({ store }: { store: Store }) {
  const { config, result, state } = store;
  return (
    <div class="case">
      <DigitMap
        label="Patches of the picture"
        config={config}
        ink={result.value.ink}
        blank={result.value.blank}
        chosen={state.value.query}
        choose={(query) => store.set({ query })}
      />
      <div>
        <Predicted store={store} />
        <Effect store={store} />
      </div>
    </div>
  );
}

const SLICE = 25; // milliseconds of forward passes before the page is drawn again

/** Exact Shapley values of the picture's patches, once they are asked for. */
function useShapley(store: Store, target: number) {
  const { inputs, digit } = store.result.value;
  const input = inputs[digit];
  const plan = useMemo(() => planShapley(store.model, input, target), [input, target]);
  const [done, setDone] = useState<number | null>(null);
  const [values, setValues] = useState<Float64Array | null>(null);
  const running = useRef(plan);
  useEffect(() => {
    running.current = plan;
    setDone(null);
    setValues(null);
  }, [plan]);
  const work = (from: number): void => {
    if (running.current !== plan) return;
    const until = performance.now() + SLICE;
    let next = from;
    while (next < plan.coalitions && performance.now() < until) plan.pieces[next++]();
    setDone(next);
    if (next < plan.coalitions) setTimeout(() => work(next));
    else setValues(plan.values());
  };
  return { done, values, total: plan.coalitions, start: () => work(0) };
}

/** Attention maps of the image beside the effects of masking patches and their exact Shapley values. */
function Maps({ store }: { store: Store }) {
  const { config, result, influence, state } = store;
  const { run, predictions, digit } = result.value;
  if (!run) return null;
  const { best } = predictions[digit];
  const { numPrefixTokens, tokens } = config;
  const masking = influence.value?.masked.map((after) => (after ? logOdds(after, best) - logOdds(run.probabilities, best) : 0));
  const shapley = useShapley(store, best);
  const shares = [
    { title: "Last layer", note: "mean attention to each patch", values: lastLayer(run, config) },
    { title: "Rollout", note: "attention multiplied through all layers", values: rollout(run, config) },
  ];
  const effects = [
    ...(masking ? [{ title: "Masking", note: "change of the log-odds if nothing attends to the patch", values: masking }] : []),
    ...(shapley.values ? [{ title: "Exact Shapley values", note: `mean effect of the patch over all ${shapley.total.toLocaleString("en-GB")} sets of patches`, values: [...new Array(numPrefixTokens).fill(0), ...shapley.values] }] : []),
  ];
  const domain = roundDomain(Math.max(0.1, ...effects.flatMap(({ values }) => values.map(Math.abs))));
  const common = {
    config,
    ink: result.value.ink,
    blank: result.value.blank,
    chosen: state.value.query,
    choose: (query: number): void => store.set({ query }),
  };
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
        <p class="small">Attention: per cent; uniform is {percent(1 / tokens)}. Effects: log-odds of {config.classNames[best]}; −0.7 halves the odds.</p>
        {effects.length > 0 && <SignedScale domain={domain} />}
        <TableButton
          data={() => ({
            caption: "Measures of every patch",
            columns: ["patch", ...shares.map(({ title }) => title), ...effects.map(({ title }) => `${title}, log-odds`)],
            rows: Array.from({ length: tokens }, (_, token) => [
              tokenName(token, config),
              ...shares.map(({ values }) => percent(values[token])),
              ...effects.map(({ values }) => signed(values[token])),
            ]),
          })}
        />
      </div>
    </>
  );
}
