// The state: the user's choices, which determine the whole page, and the part of the address
// after # that holds it.

import { base64Of, bytesOf } from "../data/payload";
import type { ScaleMode } from "../draw/colours";
import type { Config } from "../engine/config";
import { SCOPES, TRAINED, unscaledTemperature, VALUE_MODES, type Switches } from "../engine/interventions";
import type { TextConfig } from "../engine/text";
import { WARNINGS } from "../preprocess/digits";
import { strokesFromText, strokesToText, type Stroke } from "../preprocess/strokes";

/** The stops of the guided path, in order, with names that are short enough for it. */
const PATH = {
  draw: "Draw",
  pixels: "Pixels",
  patches: "Patches",
  tokens: "Tokens",
  qkv: "Query, key, value",
  scores: "Scores",
  scale: "Divide by √d",
  softmax: "Softmax",
  mix: "Weighted sum",
  join: "Join heads, MLP",
  heads: "All heads",
  prediction: "Prediction",
  gallery: "Gallery",
};
const BESIDE = { text: "Text", about: "About" }; // pages outside the path
export const STEP_NAMES = { ...PATH, ...BESIDE };
export const STEPS = Object.keys(PATH) as Step[];
export const PAGES = Object.keys(BESIDE) as Step[];
export const SCALE_MODES = ["fixed", "even", "stretched"] as const;
const THEMES = ["auto", "light", "dark"] as const;
export const MEAN = -1; // instead of a head: the mean of all heads
export const MAX_LENGTH = 200; // characters of a sentence
export const TEMPERATURES = { min: 0.1, max: 4 };

export type Step = keyof typeof STEP_NAMES;

/** Layers, heads and tokens count from 0. */
export interface State extends Switches {
  step: Step;
  query: number; // a token
  key: number; // a token
  scale: ScaleMode;
  attendedBy: boolean; // arcs from the tokens that attend to the chosen one
  strokes: Stroke[];
  images: Uint8Array[]; // model inputs of an uploaded picture, 0 to 255; used instead of strokes
  doubts: number[]; // place of the image × number of WARNINGS + place of the warning
  digit: number; // which of several digits is followed
  centred: boolean;
  seed: number; // of the shuffled order of patches; 0 is unshuffled
  noisyPatches: number[];
  noise: number; // deviation
  case: number; // of the gallery, from 1; 0 for none
  sentence: string; // input of the text model
  word: number; // query word
  textLayer: number;
  textHead: number; // MEAN is the mean of all heads
  theme: (typeof THEMES)[number];
}

export function firstState(config: Config, strokes: Stroke[]): State {
  const query = config.numPrefixTokens + Math.floor((config.patches * 2) / 3);
  return {
    ...trainedState(),
    step: "draw",
    layer: Math.min(2, config.depth - 1),
    head: 0,
    query,
    key: Math.min(config.tokens - 1, query + config.grid[1]),
    scale: "fixed",
    attendedBy: false,
    strokes,
    images: [],
    doubts: [],
    digit: 0,
    centred: true,
    case: 0,
    sentence: "The dog chased the ball because it was hungry.",
    word: 6,
    textLayer: 1,
    textHead: MEAN,
    theme: "auto",
  };
}

/** The trained model: every experiment off. */
export function trainedState() {
  const { layer, head, ...switches } = TRAINED; // these two are no experiment
  return { ...switches, seed: 0, noisyPatches: [] as number[], noise: 0.5 };
}

/** Whether the model itself is changed, not only its input. */
export function isModelChanged({ temperature, positions, removed, values, masked }: State): boolean {
  return temperature !== 1 || !positions || values !== "trained" || removed.length + masked.length > 0;
}

/** Whether scaling is off: the temperature cancels √d_k. */
export function isUnscaled(state: Pick<State, "temperature">, config: Config): boolean {
  return config.attentionScale === "sqrt" && state.temperature === unscaledTemperature(config);
}

/** Sets the theme of the document; "auto" follows the system. */
export function applyTheme(theme: State["theme"]): void {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** The next theme of the button. */
export function themeAfter(theme: State["theme"]): State["theme"] {
  return THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
}

/** The list without the item if it has it, else with it. */
export function toggled<T>(list: T[], item: T): T[] {
  return list.includes(item) ? list.filter((one) => one !== item) : [...list, item];
}

/** How a part of the state is written; `read` returns null for invalid text. */
interface Field {
  write: (value: any) => string;
  read: (text: string) => any;
}

type TextSizes = Pick<TextConfig, "contextLength" | "depth" | "numHeads">;

/** What each case of the gallery sets. */
export type Cases = Partial<State>[];

function fieldsOf(config: Config, text: TextSizes): Record<keyof State, Field> {
  return {
    step: oneOf([...STEPS, ...PAGES]),
    layer: whole(1, config.depth),
    head: whole(1, config.numHeads),
    query: whole(1, config.tokens),
    key: whole(1, config.tokens),
    scale: oneOf(SCALE_MODES),
    attendedBy: truth,
    strokes: { write: strokesToText, read: strokesFromText },
    images: listOf(picture(config.inChannels * config.imageShape[0] * config.imageShape[1])),
    doubts: listOf(whole(1, 100 * WARNINGS.length)),
    digit: whole(1, 100),
    centred: truth,
    temperature: number(TEMPERATURES.min, TEMPERATURES.max),
    positions: truth,
    seed: whole(0, 999, 0),
    removed: listOf(whole(1, config.depth * config.numHeads)),
    values: oneOf(VALUE_MODES),
    masked: listOf(whole(1, config.tokens)),
    scope: oneOf(SCOPES),
    noisyPatches: listOf(whole(1, config.patches)),
    noise: number(0, 1),
    case: whole(0, 99, 0),
    sentence: { write: String, read: (written) => (written.length <= MAX_LENGTH ? written : null) },
    word: whole(1, text.contextLength),
    textLayer: whole(1, text.depth),
    textHead: whole(0, text.numHeads),
    theme: oneOf(THEMES),
  };
}

/** The differences from the first state, or from that of a case of the gallery, as text for the address. */
export function stateToHash(state: State, first: State, config: Config, text: TextSizes, cases: Cases = []): string {
  const written = new URLSearchParams();
  const base = { ...first, ...cases[state.case - 1] };
  for (const [name, field] of Object.entries(fieldsOf(config, text))) {
    const key = name as keyof State;
    const value = field.write(state[key]);
    if (value !== field.write(base[key])) written.set(name, value);
  }
  return written.toString();
}

/** The state in a text; missing and invalid parts have their first value. */
export function stateFromHash(hash: string, first: State, config: Config, text: TextSizes, cases: Cases = []): State {
  const params = new URLSearchParams(hash.replace(/^#/, ""));
  const changes = Object.entries(fieldsOf(config, text))
    .filter(([name]) => params.has(name))
    .map(([name, field]) => [name, field.read(params.get(name)!)])
    .filter(([, value]) => value !== null);
  const read: Partial<State> = Object.fromEntries(changes);
  const number = cases[(read.case ?? 0) - 1] ? read.case! : 0;
  return { ...first, ...cases[number - 1], ...read, case: number };
}

const truth: Field = { write: (value) => String(Number(value)), read: (text) => ({ 0: false, 1: true })[text] ?? null };

function oneOf(names: readonly string[]): Field {
  return { write: String, read: (text) => (names.includes(text) ? text : null) };
}

/** An integer, counted from 1 in the address and from 0 in the state. */
function whole(min: number, max: number, offset = 1): Field {
  return number(min, max, offset, /^\d{1,4}$/);
}

function number(min: number, max: number, offset = 0, pattern = /^[\d.]+$/): Field {
  return {
    write: (value) => String(value + offset),
    read: (text) => {
      const value = pattern.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value - offset : null;
    },
  };
}

function listOf(one: Field): Field {
  return {
    write: (values: unknown[]) => values.map(one.write).join("."),
    read: (text) => {
      const values = text.split(".").filter(Boolean).map(one.read);
      return values.includes(null) ? null : values;
    },
  };
}

/** A picture of `length` bytes, in base64 with - and _. */
function picture(length: number): Field {
  return {
    write: (image) => base64Of(image).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", ""),
    read: (text) => {
      try {
        const image = bytesOf(text.replaceAll("-", "+").replaceAll("_", "/"));
        return image.length === length ? image : null;
      } catch {
        return null;
      }
    },
  };
}
