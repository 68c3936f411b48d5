// The state: the user's choices, which determine the whole page, and the part of the address
// after # that holds it.

import { base64Of, bytesOf } from "../data/payload";
import type { ScaleMode } from "../draw/colours";
import type { Config } from "../engine/config";
import { TRAINED, unscaledTemperature } from "../engine/interventions";
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
export type Theme = (typeof THEMES)[number];
export const MEAN = -1; // instead of a head: the mean of all heads
export const MAX_LENGTH = 200; // characters of a sentence
export const TEMPERATURES = { min: 0.1, max: 4 };

export type Step = keyof typeof STEP_NAMES;

/** A part of the state: its initial value, and its text in the address; `read` returns null for invalid text. */
interface Part<T> extends Field<T> {
  first: T;
}

interface Field<T> {
  write: (value: T) => string;
  read: (text: string) => T | null;
}

type TextSizes = Pick<TextConfig, "contextLength" | "depth" | "numHeads">;

/** Every part of the state. Layers, heads and tokens count from 0. */
export function partsOf(config: Config, text: TextSizes) {
  const query = config.numPrefixTokens + Math.floor((config.patches * 2) / 3);
  const pixels = config.inChannels * config.imageShape[0] * config.imageShape[1];
  const part = <T>(first: T, field: Field<T>): Part<T> => ({ first, ...field });
  return {
    step: part<Step>("draw", oneOf([...STEPS, ...PAGES])),
    layer: part(Math.min(2, config.depth - 1), whole(1, config.depth)), // the chosen head
    head: part(0, whole(1, config.numHeads)),
    query: part(query, whole(1, config.tokens)), // a token
    key: part(Math.min(config.tokens - 1, query + config.grid[1]), whole(1, config.tokens)), // a token
    scale: part<ScaleMode>("fixed", oneOf(SCALE_MODES)),
    attendedBy: part(false, flag), // arcs from the tokens that attend to the chosen one
    strokes: part<Stroke[]>([], { write: strokesToText, read: strokesFromText }),
    images: part<Uint8Array[]>([], listOf(picture(pixels))), // model inputs of an uploaded picture, 0 to 255; used instead of strokes
    doubts: part<number[]>([], listOf(whole(1, 100 * WARNINGS.length))), // place of the image × number of WARNINGS + place of the warning
    digit: part(0, whole(1, 100)), // which of several digits is followed
    centred: part(true, flag),
    temperature: part(TRAINED.temperature, number(TEMPERATURES.min, TEMPERATURES.max)),
    positions: part(TRAINED.positions, flag),
    seed: part(0, whole(0, 999, 0)), // of the shuffled order of patches; 0 is unshuffled
    removed: part(TRAINED.removed, listOf(whole(1, config.depth * config.numHeads))),
    reversed: part(TRAINED.reversed, flag),
    masked: part(TRAINED.masked, listOf(whole(1, config.tokens))),
    noisyPatches: part<number[]>([], listOf(whole(1, config.patches))),
    noise: part(0.5, number(0, 1)), // deviation
    case: part(0, whole(0, 99, 0)), // of the gallery, from 1; 0 for none
    sentence: part("The dog chased the ball because it was hungry.", { write: String, read: (written) => (written.length <= MAX_LENGTH ? written : null) }),
    word: part(6, whole(1, text.contextLength)), // query word
    textLayer: part(1, whole(1, text.depth)),
    textHead: part(MEAN, whole(0, text.numHeads)), // MEAN is the mean of all heads
    theme: part<Theme>("auto", oneOf(THEMES)),
  };
}

type Parts = ReturnType<typeof partsOf>;
export type State = { [Name in keyof Parts]: Parts[Name]["first"] };

const entriesOf = (parts: Parts) => Object.entries(parts) as [keyof State, Part<any>][];

export function firstState(parts: Parts): State {
  return Object.fromEntries(entriesOf(parts).map(([name, { first }]) => [name, first])) as State;
}

/** The trained model: every experiment off. */
export function trainedState() {
  const { layer, ...switches } = TRAINED; // the layer is not an experiment
  return { ...switches, seed: 0, noisyPatches: [] as number[], noise: 0.5 };
}

/** Whether the model itself is changed, not only its input. */
export function isModelChanged({ temperature, positions, removed, reversed, masked }: State): boolean {
  return temperature !== 1 || !positions || reversed || removed.length + masked.length > 0;
}

/** Whether scaling is off: the temperature cancels √d_k. */
export function isUnscaled(state: Pick<State, "temperature">, config: Config): boolean {
  return config.attentionScale === "sqrt" && state.temperature === unscaledTemperature(config);
}

/** Sets the theme of the document; "auto" follows the system. */
export function applyTheme(theme: Theme): void {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** The next theme of the button. */
export function themeAfter(theme: Theme): Theme {
  return THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
}

/** The list without the item if it has it, else with it. */
export function toggled<T>(list: T[], item: T): T[] {
  return list.includes(item) ? list.filter((one) => one !== item) : [...list, item];
}

/** What each case of the gallery sets. */
export type Cases = Partial<State>[];

/** The differences from the first state, or from that of a case of the gallery, as text for the address. */
export function stateToHash(state: State, first: State, parts: Parts, cases: Cases = []): string {
  const base = { ...first, ...cases[state.case - 1] };
  const written = entriesOf(parts).map(([name, { write }]) => [name, write(state[name]), write(base[name])]);
  return new URLSearchParams(written.filter(([, now, before]) => now !== before).map(([name, now]) => [name, now])).toString();
}

/** The state in a text; missing and invalid parts have their first value. */
export function stateFromHash(hash: string, first: State, parts: Parts, cases: Cases = []): State {
  const params = new URLSearchParams(hash.replace(/^#/, ""));
  const found = entriesOf(parts).map(([name, { read }]) => [name, params.has(name) ? read(params.get(name)!) : null]);
  const changes: Partial<State> = Object.fromEntries(found.filter(([, value]) => value !== null));
  const number = cases[(changes.case ?? 0) - 1] ? changes.case! : 0;
  return { ...first, ...cases[number - 1], ...changes, case: number };
}

const flag: Field<boolean> = { write: (value) => String(Number(value)), read: (text) => ({ 0: false, 1: true })[text] ?? null };

function oneOf<T extends string>(names: readonly T[]): Field<T> {
  return { write: String, read: (text) => names.find((name) => name === text) ?? null };
}

/** An integer, counted from 1 in the address and from 0 in the state. */
function whole(min: number, max: number, offset = 1): Field<number> {
  return number(min, max, offset, /^\d{1,4}$/);
}

function number(min: number, max: number, offset = 0, pattern = /^[\d.]+$/): Field<number> {
  return {
    write: (value) => String(value + offset),
    read: (text) => {
      const value = pattern.test(text) ? Number(text) : NaN;
      return value >= min && value <= max ? value - offset : null;
    },
  };
}

function listOf<T>(one: Field<T>): Field<T[]> {
  return {
    write: (values) => values.map(one.write).join("."),
    read: (text) => {
      const values = text.split(".").filter(Boolean).map(one.read);
      return values.includes(null) ? null : (values as T[]);
    },
  };
}

/** A picture of `length` bytes, in base64 with - and _. */
function picture(length: number): Field<Uint8Array> {
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
