// The state: the user's choices, which determine the whole page.

import type { ScaleMode } from "../draw/colours";
import type { Config } from "../engine/config";
import { TRAINED, unscaledTemperature, type Switches } from "../engine/interventions";
import type { Stroke } from "../preprocess/strokes";

/** The stops of the guided path, in order. */
export const STEPS = [
  "draw",
  "pixels",
  "patches",
  "tokens",
  "qkv",
  "scores",
  "scale",
  "softmax",
  "mix",
  "join",
  "heads",
  "prediction",
  "gallery",
] as const;
/** Pages beside the path. */
export const PAGES = ["text", "about"] as const;
export const SCALE_MODES = ["fixed", "even", "stretched"] as const;
export const THEMES = ["auto", "light", "dark"] as const;
export const MEAN = -1; // instead of a head: the mean of all heads
export const MAX_LENGTH = 200; // characters of a sentence
export const TEMPERATURES = { min: 0.1, max: 4 };

export type Step = (typeof STEPS)[number] | (typeof PAGES)[number];

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
