// The end of the path: cases worth showing, and what to keep.

import type { ComponentChildren } from "preact";
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
import { strokesFromText } from "../preprocess/strokes";
import { trainedState, type State } from "../state/state";
import type { Store } from "../state/store";
import { Answer } from "./answer";
import { Effect } from "./inputsteps";
import { Try, WayOn } from "./frame";

interface Case {
  title: string;
  question: string;
  text: ComponentChildren;
  state: (store: Store) => Partial<State>;
  maps?: boolean; // shows maps of importance instead of the answer
}

const FOUR_OR_NINE = "401w3j1y2q2n2o34343o463q4w38.521o4y3w4a69";
const SEVENTEEN = "1h1y1k6a.391z5c215b214v3h4l5g4e6d";
const LETTER_A = "3w1a2t3z1w6c.3w1a4r3z5q6c.2c4m5a4m";

/** The strokes of the first example with this label. */
function example(store: Store, label: string): Partial<State> {
  const found = store.payload.examples.find((one) => one.label === label);
  return { strokes: found?.strokes ?? [], images: [], digit: 0 };
}

const drawn = (text: string): Partial<State> => ({ strokes: strokesFromText(text) ?? [], images: [], digit: 0 });

const CASES: Case[] = [
  {
    title: "4 or 9?",
    question: "Between two classes",
    text: "The top is almost closed, and two classes share nearly all of the probability. Go to the pad and close or open the gap: the answer changes.",
    state: () => drawn(FOUR_OR_NINE),
  },
  {
    title: "Eight heads fewer",
    question: "Does the prediction change?",
    text: "A third of the heads is switched off, two in each of the layers 3 to 6, and the answer stays. One head is rarely indispensable; all of a layer's together may be.",
    state: (store) => ({
      ...example(store, "3"),
      removed: Array.from({ length: store.config.depth }, (_, layer) => layer)
        .filter((layer) => layer >= 2)
        .flatMap((layer) => [layer * store.config.numHeads + 1, layer * store.config.numHeads + 2]),
    }),
  },
  {
    title: "Attention is not importance",
    question: "Which patches decide?",
    text: "Three attention maps, and measured effects. They point to different patches: attention shows which values are mixed, not what the answer depends on.",
    state: (store) => (store.config.readsDigits ? example(store, "7") : {}),
    maps: true,
  },
  {
    title: "Order lost",
    question: "Shuffled patches, no positions",
    text: "Without positions the input is a set of patches. In any order the logits are the same to the last digits: the prediction does not depend on the order.",
    state: (store) => ({ ...example(store, "5"), positions: false, seed: 5 }),
  },
  {
    title: "17",
    question: "Two digits at once",
    text: "The page separates them as the command predict does, and the model classifies one at a time. Choose which one to follow.",
    state: () => drawn(SEVENTEEN),
  },
  {
    title: "A",
    question: "Not a digit",
    text: "A network with ten classes must spread 100 % over them. With thresholds a picture can be rejected; some letters still pass for digits.",
    state: () => drawn(LETTER_A),
  },
];

export function Gallery({ store }: { store: Store }) {
  const { config } = store;
  const cases = config.readsDigits ? CASES : CASES.filter(({ maps }) => maps);
  const [open, setOpen] = useState<number | null>(null);
  const shown = open === null ? null : cases[open];
  const show = (i: number): void => {
    setOpen(i);
    store.set({ ...trainedState(), ...cases[i].state(store) });
  };
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
            <li><b>A large weight is not a reason.</b> What the answer depends on is found by changing something and looking again.</li>
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
        <Answer store={store} />
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
    ...(masking ? [{ title: "Masking", note: "change of the answer if nothing attends to the patch", values: masking }] : []),
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
        <SignedScale domain={domain} />
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
