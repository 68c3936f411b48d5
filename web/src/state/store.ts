// The state as signals, what is computed from it, and what the pointer and the focus rest on.

import { batch, computed, effect, signal, type ReadonlySignal } from "@preact/signals";

import type { Payload } from "../data/payload";
import { percent } from "../draw/numbers";
import { argmax, row } from "../engine/arithmetic";
import type { Config } from "../engine/config";
import { planInfluence, type Influence } from "../engine/influence";
import { labelOf } from "../engine/predict";
import type { TextModel } from "../engine/text";
import type { Model, Run } from "../engine/vit";
import type { Stroke } from "../preprocess/strokes";
import { casesOf } from "./cases";
import { NOTHING, stillOpened, type OpenedPicture } from "./opened";
import { cachedCompute, planExamples, whenIdle, type Result } from "./result";
import { firstState, isUnscaled, partsOf, stateFromHash, stateToHash, STEPS, trainedState, type State, type Step } from "./state";

const HELD = 250; // milliseconds
const QUICK = 6; // milliseconds of computing that leave time for drawing in the same frame

/** The page's one store, once it is opened. */
export let store = {} as ReturnType<typeof createStore>;

export function openStore(payload: Payload, model: Model, textModel: TextModel, hash: string): void {
  store = createStore(payload, model, textModel, hash);
}

function createStore(payload: Payload, model: Model, textModel: TextModel, hash: string) {
  const { config } = model;
  const parts = partsOf(config, textModel.config);
  const start = payload.examples.find(({ label }, i) => label === "7" && i % 2 === 0);
  const resultOf = cachedCompute(model);
  const first = firstState(parts);
  first.strokes = (config.readsDigits && start?.strokes) || [];
  first.images = payload.pictures.slice(0, 1).map(({ image }) => image);
  first.key = strongestKey(resultOf(first), first, config) ?? first.key;
  const turned = { by: 0 };
  const cases = casesOf(config).map((one) => one.state(payload, config));
  const restored = (written: string): State => stateFromHash(written, first, parts, cases);
  const state = signal(restored(hash));
  const result = computed(() => resultOf(state.value));
  const blank = new Uint8Array(config.inChannels * config.imageShape[0] * config.imageShape[1]);
  const opened = signal({ picture: NOTHING, at: first }); // the picture and the state that shows it
  const example = { strokes: first.strokes, images: first.strokes.length + first.images.length ? first.images : [blank], digit: 0 };
  const message = signal(""); // in the header
  const spoken = signal(""); // in the live region
  const say = (text: string, isShown = true): void => {
    message.value = isShown ? text : "";
    spoken.value = text;
  };
  const hover = signal<{ query?: number; key?: number }>({}); // tokens under the pointer or the keyboard's focus
  const guesses = signal<Record<string, number>>({}); // answers to the questions of the path; -1 is skipped
  const drawn = signal<Stroke[] | null>(null); // the strokes while one is being drawn
  const drawing = computed(() => drawn.value !== null); // slow views wait
  const latest = computed(() => ({ state: state.value, result: result.value }));
  const held = signal(latest.peek()); // while a stroke is drawn, now and then
  const calm = computed(() => (drawing.value ? held.value : latest.value));
  const plan = planExamples(model, textModel, payload);
  const examples = signal(plan.examples);
  whenIdle(plan.pieces, () => {
    examples.value = { ...plan.examples };
  });
  const set = (changes: Partial<State>): void => {
    batch(() => {
      hover.value = {};
      if (changes.step || changes.strokes) say(""); // what the last action said
      state.value = { ...state.value, ...changes };
    });
  };
  const drawnState = (strokes: Stroke[]): Partial<State> => ({ strokes, images: [], digit: 0 });
  effect(() => {
    if (!drawing.value) return undefined;
    const hold = (): void => {
      held.value = latest.peek();
    };
    hold();
    return followed(drawn, (strokes) => resultOf({ ...state.peek(), ...drawnState(strokes) }), (strokes) => set(drawnState(strokes)), hold);
  });
  return {
    payload,
    config,
    model,
    textModel,
    state,
    result,
    shown: computed(() => (result.value.run ? result.value : resultOf({ ...state.value, ...example }))), // the result; without a picture, that of an example
    calm, // state and result, updated less often while a stroke is drawn: for all but the digit and its prediction
    trained: computed(() => resultOf({ ...state.value, ...trainedState() })), // the unchanged model and picture
    changes: computed(() => changesOf(calm.value.state, config)), // of the trained model or its input, in words
    hover,
    drawn,
    /** The strokes of the pad; those that are being drawn count once they are computed. */
    draw: (strokes: Stroke[], isDrawing = false): void =>
      batch(() => {
        drawn.value = isDrawing ? strokes : null;
        if (!isDrawing) set(drawnState(strokes));
      }),
    pinned: signal<{ name: string; run: Run } | null>(null), // a result that others are compared with
    message,
    spoken,
    guesses,
    guess: (id: string, guess: number | undefined): void => {
      const { [id]: _, ...others } = guesses.value;
      guesses.value = guess === undefined ? others : { ...others, [id]: guess };
    },
    examples,
    ...influenceOf(model, () => (drawing.value ? undefined : result.value.run), () => state.peek()),
    set,
    /** Opens a step; `by` is 1 or -1 if Next or Back, or their keys, led to it. */
    go: (step: Step, by = 0): void => {
      turned.by = by;
      set({ step });
    },
    turned,
    flow: signal(0), // the layer that the opening shows; 0 for none
    picture: computed(() => stillOpened(opened.value.picture, opened.value.at, state.value)), // the opened one
    /** Keeps what became of a picture, while the state shows it. Returns whether nothing else was noted since. */
    note: (picture: OpenedPicture): (() => boolean) => {
      const noted = { picture, at: state.peek() };
      opened.value = noted;
      return () => opened.peek() === noted;
    },
    first,
    /** Also chooses the key that the query attends to most. */
    pickHead: (layer: number, head: number, step = state.value.step): void => {
      const { query, key } = state.value;
      set({ layer, head, key: strongestKey(result.value, { layer, head, query }, config) ?? key, step });
    },
    reset: (): void => set(trainedState()),
    restore: (written: string): void => {
      state.value = restored(written);
    },
    resultOf,
    hash: (): string => stateToHash(state.value, first, parts, cases),
    say,
  };
}

/** The probabilities after the layer that the opening shows, unless it is the last one. */
export function earlyShares(): number[] | undefined {
  const { flow, result, config } = store;
  return flow.value > 0 && flow.value < config.depth ? result.value.lens[flow.value] : undefined;
}

/** The label of all digits, and a word on them; null without a prediction. */
export function shortPrediction({ prediction, predictions }: Result): [string, string] | null {
  const { classNames, readsDigits } = store.config;
  if (!prediction) return null;
  const { status, probabilities, best } = prediction;
  const note = predictions.length > 1 ? `${predictions.length} digits` : status === "rejected" ? "not recognised" : percent(probabilities[best]);
  return [labelOf(predictions, classNames, readsDigits), note];
}

/** The key that a query attends to most in a head; null without a picture. */
function strongestKey({ run }: Result, { layer, head, query }: Pick<State, "layer" | "head" | "query">, { tokens }: Config): number | null {
  return run && argmax(row(run.layers[layer].heads[head].weights, query, tokens));
}

/** While strokes change: they are computed, then what follows from them is drawn, on slow processors in the next frame; every HELD milliseconds, `hold` has a frame of its own. Returns a stop. */
function followed<T>(changing: ReadonlySignal<T | null>, compute: (now: T) => void, draw: (now: T) => void, hold: () => void): () => void {
  let last: T | null = null;
  let heldAt = performance.now();
  let isStopped = false;
  const next = (): void => {
    const now = changing.peek();
    if (isStopped || now === null) return;
    const start = performance.now();
    const isHolding = start - heldAt > HELD;
    if (isHolding) heldAt = start;
    else if (now !== last) compute(now);
    const show = (): void => {
      if (isStopped) return;
      if (isHolding) hold();
      else if (now !== last) draw(now);
      if (!isHolding) last = now;
      requestAnimationFrame(() => setTimeout(next));
    };
    const isSlow = performance.now() - start > QUICK;
    requestAnimationFrame(() => (isSlow ? requestAnimationFrame(show) : show()));
  };
  setTimeout(next);
  return () => {
    isStopped = true;
  };
}

/** The influence of masking and of removing heads, computed after each change, when the browser is idle. */
function influenceOf(model: Model, runNow: () => Run | null | undefined, stateNow: () => State) {
  const influence = signal<Influence | null>(null);
  let stop = (): void => {};
  let last: Run | null | undefined;
  effect(() => {
    const run = runNow(); // undefined while a stroke is drawn
    if (run !== undefined && run === last) return;
    stop();
    last = run;
    if (run === undefined) return;
    influence.value = null;
    if (run === null) return;
    const plan = planInfluence(model, run, stateNow());
    stop = whenIdle(plan.pieces, (done) => {
      if (done === plan.pieces.length) influence.value = plan.influence;
    });
  });
  return { influence, settled: computed(() => runNow() === null || influence.value !== null) }; // whether nothing is left to compute
}

/** What a step shows: the state, the result of a picture, and the stages of the chosen head. */
export function current() {
  const { config } = store;
  const state = store.state.value;
  const { run, prediction, digit, ...others } = store.shown.value;
  const layerRun = run!.layers[state.layer];
  return { config, ...state, ...others, run: run!, layerRun, stages: layerRun.heads[state.head], prediction: prediction! };
}

/** The query and key that are shown: those under the pointer or focus, else the chosen ones. */
export function shownPair(): { query: number; key: number } {
  const { query, key } = store.hover.value;
  return { query: query ?? store.state.value.query, key: key ?? store.state.value.key };
}

/** The stages of the chosen head; null without a picture. */
export function chosenHead() {
  const { layer, head } = store.state.value;
  return store.result.value.run?.layers[layer].heads[head] ?? null;
}

/** The next or previous stop of the path. */
export function neighbour(step: Step, by: 1 | -1): Step | null {
  const place = STEPS.indexOf(step);
  return place < 0 ? null : (STEPS[place + by] ?? null);
}

/** Every change of the trained model or its input, in words. */
function changesOf(state: State, config: Config): string[] {
  const patches = (list: number[]): string => (list.length === 1 ? "1 patch" : `${list.length} patches`);
  const { length: removed } = state.removed;
  const changes = {
    "÷ √d off in every layer": isUnscaled(state, config),
    [`temperature ${state.temperature.toFixed(2)} in every layer`]: state.temperature !== 1 && !isUnscaled(state, config),
    "positions off": !state.positions,
    "patches shuffled": state.seed !== 0,
    [`${removed} head${removed === 1 ? "" : "s"} removed`]: removed > 0,
    [`values reversed in L${state.layer + 1}`]: state.reversed,
    [`${patches(state.masked)} masked in every layer`]: state.masked.length > 0,
    [`noise on ${patches(state.noisyPatches)}`]: state.noisyPatches.length > 0 && state.noise > 0,
    "not centred": !state.centred,
  };
  return Object.entries(changes).filter(([, isOn]) => isOn).map(([change]) => change);
}
