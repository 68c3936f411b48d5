// The state as signals, what is computed from it, and what the pointer and the focus rest on.

import { batch, computed, effect, signal, type ReadonlySignal, type Signal } from "@preact/signals";

import type { Payload } from "../data/payload";
import { argmax, row } from "../engine/arithmetic";
import type { Config } from "../engine/config";
import { planInfluence, type Influence } from "../engine/influence";
import type { Measures } from "../engine/maps";
import type { Stages } from "../engine/attention";
import type { TextModel } from "../engine/text";
import type { Model, Run } from "../engine/vit";
import { casesOf } from "./cases";
import { stateFromHash, stateToHash } from "./hash";
import { whenIdle } from "./idle";
import { planExamples, usualMeasures, type Examples } from "./examples";
import { cachedCompute, type Result } from "./result";
import { firstState, isUnscaled, STEPS, switchesOf, trainedState, type State, type Step } from "./state";

/** Tokens under the pointer or the keyboard's focus. */
export interface Hover {
  query?: number;
  key?: number;
}

export interface Store {
  payload: Payload;
  config: Config;
  model: Model;
  textModel: TextModel;
  state: ReadonlySignal<State>;
  result: ReadonlySignal<Result>;
  trained: ReadonlySignal<Result>; // of the unchanged model on the unchanged picture
  changes: ReadonlySignal<string[]>; // of the trained model or its input, in words
  hover: Signal<Hover>;
  drawing: Signal<boolean>; // whether a stroke is being drawn; slow views wait
  pinned: Signal<{ name: string; run: Run } | null>; // a result that others are compared with
  message: Signal<string>; // of the live region
  guesses: Signal<Record<string, number>>; // answers to the questions of the path; -1 is skipped
  guess: (id: string, guess: number | undefined) => void;
  examples: Signal<Examples>;
  usual: ReadonlySignal<Measures[] | null>; // of each head, over the examples
  influence: Signal<Influence | null>;
  settled: Signal<boolean>; // whether nothing is left to compute
  set: (changes: Partial<State>) => void;
  go: (step: Step) => void;
  pickHead: (layer: number, head: number, step?: Step) => void; // and the key that the query attends to most
  reset: () => void;
  restore: (hash: string) => void; // from an address
  resultOf: (state: State) => Result;
  hash: () => string;
  say: (message: string) => void;
}

export function createStore(payload: Payload, model: Model, textModel: TextModel, hash: string): Store {
  const { config } = model;
  const { contextLength, depth, numHeads } = textModel.config;
  const text = { contextLength, depth, numHeads };
  const start = payload.examples.find(({ label }, i) => label === "7" && i % 2 === 0);
  const resultOf = cachedCompute(model);
  const first = firstState(config, config.readsDigits ? (start?.strokes ?? []) : []);
  if (payload.pictures.length) first.images = [payload.pictures[0].image];
  first.key = strongestKey(resultOf(first), first, config) ?? first.key;
  const cases = casesOf(config).map((one) => one.state(payload, config));
  const state = signal(stateFromHash(hash, first, config, text, cases));
  const result = computed(() => resultOf(state.value));
  const trained = computed(() => resultOf({ ...state.value, ...trainedState() }));
  const plan = planExamples(model, textModel, payload);
  const examples = signal(plan.examples);
  const usual = computed(() => (examples.value.done ? usualMeasures(examples.value, model) : null));
  const store: Store = {
    payload,
    config,
    model,
    textModel,
    state,
    result,
    trained,
    changes: computed(() => changesOf(state.value, config)),
    hover: signal({}),
    drawing: signal(false),
    pinned: signal(null),
    message: signal(""),
    guesses: signal({}),
    guess: (id, guess) => {
      const { [id]: _, ...others } = store.guesses.value;
      store.guesses.value = guess === undefined ? others : { ...others, [id]: guess };
    },
    examples,
    usual,
    influence: signal(null),
    settled: signal(false),
    set: (changes) => {
      batch(() => {
        store.hover.value = {};
        if (changes.step || changes.strokes) store.message.value = ""; // of the last action
        state.value = { ...state.value, ...changes };
      });
    },
    go: (step) => store.set({ step }),
    pickHead: (layer, head, step = state.value.step) => {
      const { query, key } = state.value;
      store.set({ layer, head, key: strongestKey(result.value, { layer, head, query }, config) ?? key, step });
    },
    reset: () => store.set(trainedState()),
    restore: (written) => {
      state.value = stateFromHash(written, first, config, text, cases);
    },
    resultOf,
    hash: () => stateToHash(state.value, first, config, text, cases),
    say: (message) => {
      store.message.value = message;
    },
  };
  whenIdle(plan.pieces, () => {
    examples.value = { ...plan.examples };
  });
  followInfluence(store);
  return store;
}

/** The key that a query attends to most in a head; null without a picture. */
function strongestKey({ run }: Result, { layer, head, query }: Pick<State, "layer" | "head" | "query">, { tokens }: Config): number | null {
  return run && argmax(row(run.layers[layer].heads[head].weights, query, tokens));
}

/** Computes the influence of masking and of removing heads after each change, when the browser is idle. */
function followInfluence(store: Store): void {
  let stop = (): void => {};
  let last: Run | null | undefined;
  effect(() => {
    if (store.drawing.value) return; // reading the result would compute it for every point of a stroke
    const { run } = store.result.value;
    if (run === last) return;
    stop();
    last = run;
    store.influence.value = null;
    store.settled.value = run === null;
    if (run === null) return;
    const { influence, pieces } = planInfluence(store.model, run, switchesOf(store.state.peek(), store.config));
    stop = whenIdle(pieces, (done) => {
      if (done) {
        store.influence.value = influence;
        store.settled.value = true;
      }
    });
  });
}

/** The query and key that are shown: those under the pointer or focus, else the chosen ones. */
export function shownPair({ hover, state }: Store): { query: number; key: number } {
  const { query, key } = hover.value;
  return { query: query ?? state.value.query, key: key ?? state.value.key };
}

/** The stages of the chosen head; null without a drawing. */
export function chosenHead({ result, state }: Store): Stages | null {
  const { layer, head } = state.value;
  return result.value.run?.layers[layer].heads[head] ?? null;
}

/** The next or previous stop of the path. */
export function neighbour(step: Step, by: 1 | -1): Step | null {
  const place = (STEPS as readonly string[]).indexOf(step);
  return place < 0 ? null : (STEPS[place + by] ?? null);
}

/** Every change of the trained model or its input, in words. */
function changesOf(state: State, config: Config): string[] {
  const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
  const where = { head: "in this head", layer: "in this layer", model: "in every layer" }[state.scope];
  const temperature = isUnscaled(state, config)
    ? "÷ √d off in every layer"
    : `temperature ${state.temperature.toFixed(2)} in every layer`;
  const list: (string | false)[] = [
    state.temperature !== 1 && temperature,
    !state.positions && "positions off",
    state.seed !== 0 && "patches shuffled",
    state.removed.length > 0 && `${plural(state.removed.length, "head")} removed`,
    state.values !== "trained" && `values ${state.values} in L${state.layer + 1}`,
    state.masked.length > 0 && `${plural(state.masked.length, "patch").replace("patchs", "patches")} masked ${where}`,
    state.noisyPatches.length > 0 && state.noise > 0 &&
      `noise on ${plural(state.noisyPatches.length, "patch").replace("patchs", "patches")}`,
    !state.centred && "not centred",
  ];
  return list.filter((change) => change !== false);
}
