// The whole state, with drawings and pictures, as the part of the address after #.

import { base64Of, bytesOf } from "../data/base64";
import type { Config } from "../engine/config";
import { SCOPES, VALUE_MODES } from "../engine/interventions";
import type { TextConfig } from "../engine/text";
import { WARNINGS } from "../preprocess/digits";
import { strokesFromText, strokesToText } from "../preprocess/strokes";
import { MAX_LENGTH, PAGES, SCALE_MODES, STEPS, TEMPERATURES, THEMES, type State } from "./state";

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
    images: pictures(config.inChannels * config.imageShape[0] * config.imageShape[1]),
    doubts: several(100 * WARNINGS.length),
    digit: whole(1, 100),
    centred: truth,
    temperature: number(TEMPERATURES.min, TEMPERATURES.max),
    positions: truth,
    seed: whole(0, 999, 0),
    removed: several(config.depth * config.numHeads),
    values: oneOf(VALUE_MODES),
    masked: several(config.tokens),
    scope: oneOf(SCOPES),
    noisyPatches: several(config.patches),
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
    .map(([name, field]) => [name, field.read(params.get(name) ?? "")])
    .filter(([, value]) => value !== null);
  const read: Partial<State> = Object.fromEntries(changes);
  const number = cases[(read.case ?? 0) - 1] ? read.case! : 0;
  return { ...first, ...cases[number - 1], ...read, case: number };
}

const truth: Field = {
  write: (value) => (value ? "1" : "0"),
  read: (text) => (text === "1" ? true : text === "0" ? false : null),
};

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

/** Distinct integers from 1 to `max`. */
function several(max: number): Field {
  const one = whole(1, max);
  return {
    write: (values: number[]) => [...values].sort((a, b) => a - b).map(one.write).join("."),
    read: (text) => {
      const values = text === "" ? [] : text.split(".").map(one.read);
      return values.includes(null) ? null : [...new Set(values)];
    },
  };
}

/** Pictures of `length` bytes, in base64 with - and _. */
function pictures(length: number): Field {
  return {
    write: (images: Uint8Array[]) =>
      images.map((image) => base64Of(image).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")).join("."),
    read: (text) => {
      if (!/^[\w.-]*$/.test(text)) return null;
      try {
        const images = text === "" ? [] : text.replaceAll("-", "+").replaceAll("_", "/").split(".").map(bytesOf);
        return images.every((image) => image.length === length) ? images : null;
      } catch {
        return null;
      }
    },
  };
}
