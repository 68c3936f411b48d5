// The end of the path: cases worth showing, and what to keep.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { InkCanvas } from "../draw/canvas";
import { largestSize, roundDomain } from "../draw/colours";
import { percent, signed } from "../draw/numbers";
import { lastLayer, planShapley, rollout } from "../engine/influence";
import { logOdds } from "../engine/predict";
import { TableButton } from "../parts/controls";
import { DigitMap, MeasureMap, measureTable, type Measure } from "../parts/digitmap";
import { SignedScale } from "../parts/scale";
import { Term } from "../parts/term";
import { casesOf } from "../state/cases";
import { whenIdle } from "../state/result";
import { trainedState } from "../state/state";
import { current, store } from "../state/store";
import { Predicted } from "./drawstep";
import { Effect, Try, WayOn } from "./frame";
import { Drawing } from "./pad";

export function Gallery() {
  const { config, state, result } = store;
  const cases = casesOf(config);
  const open = cases[state.value.case - 1];
  const cards = useRef<HTMLDivElement>(null);
  useEffect(() => cards.current?.querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest" }), [open]); // on phones they are in one line
  return (
    <>
      <div class="step-head">
        <h2 tabIndex={-1}>{cases.length > 1 ? "Gallery: six cases, three things to keep" : "One case, three things to keep"}</h2>
        <WayOn />
        {!open && <p class="lead">Choose a case: each brings its picture, and sets up the model.</p>}
      </div>
      <div class={`step-body gallery ${open ? "" : "unchosen"}`}>
        <div class="cards" role="group" aria-label="Cases" ref={cards}>
          {cases.map((one, i) => (
            <button
              type="button"
              key={one.title}
              class="card"
              aria-pressed={one === open}
              onClick={() => store.set({ ...trainedState(), ...one.state(store.payload, config), case: i + 1 })}
            >
              {config.readsDigits ? <Drawing strokes={one.state(store.payload, config).strokes ?? []} /> : <InkCanvas ink={store.shown.value.ink} config={config} />}
              <b>{one.title}</b>
              <span>{one.question}</span>
            </button>
          ))}
        </div>
        <div class="content">
          {open && <p class="lead">{open.text}</p>}
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
  const { config, result, state, set } = store;
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
  const { model, result } = store;
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
  const { config, run, prediction: { best } } = current();
  const { numPrefixTokens, tokens } = config;
  const common = useMap();
  const masking = store.influence.value?.masked.map((after) => (after ? logOdds(after, best) - logOdds(run.probabilities, best) : 0));
  const shapley = useShapley(best);
  const total = shapley.total.toLocaleString("en-GB");
  const shares = { unit: "per cent", write: percent };
  const domain = roundDomain(Math.max(0.1, largestSize(masking ?? [], shapley.values ?? [])));
  const effects = { unit: "log-odds", write: signed, domain };
  const measures: Measure[] = [
    { title: "Last layer", note: "mean attention to each patch", values: lastLayer(run, config), ...shares },
    { title: "Rollout", note: "attention multiplied through all layers", values: rollout(run, config), ...shares },
  ];
  if (masking) measures.push({ title: "Masking", note: "change of the log-odds if nothing attends to the patch", values: masking, ...effects });
  if (shapley.values) {
    const values = [...new Array(numPrefixTokens).fill(0), ...shapley.values];
    measures.push({ title: "Exact Shapley values", note: `mean effect of the patch over all ${total} sets of patches`, values, ...effects });
  }
  return (
    <>
      <div class="maps">
        {measures.map((measure) => <MeasureMap key={measure.title} {...common} {...measure} />)}
      </div>
      {!shapley.values && (
        <Try>
          <button type="button" disabled={shapley.done !== null} onClick={shapley.start}>
            Compute exact Shapley values
          </button>
          <span class="small">
            {shapley.done === null ? `${total} forward passes, here in the browser` : `${shapley.done.toLocaleString("en-GB")} of ${total}`}
          </span>
        </Try>
      )}
      <div class="row">
        <p class="small"><Term name="rollout">Rollout</Term> and last layer: per cent; uniform is {percent(1 / tokens)}. Masking and <Term name="Shapley value">Shapley values</Term>: <Term name="log-odds" /> of {config.classNames[best]}.</p>
        {measures.length > 2 && <SignedScale domain={domain} />}
        <TableButton {...measureTable("Measures of every patch", measures, config)} />
      </div>
    </>
  );
}
