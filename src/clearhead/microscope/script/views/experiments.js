// The experiments: each changes one thing, shows its effect, and can be undone.

import { largestDifference } from "../arithmetic.js";
import { el, setAttribute, setText } from "../element.js";
import { unscaledTemperature } from "../experiments.js";
import { decimal } from "../numbers.js";
import { SCOPES, TEMPERATURES, VALUE_MODES, isUnscaled, toggled, trainedState } from "../state.js";
import { STRINGS, headLabel } from "../strings.js";
import { createChoice, createToggle } from "./choice.js";
import { createPatchMap } from "./patchmap.js";
import { predictedClass, chosenHead, rowOf, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {{element: HTMLElement, update: () => void}} View */

const words = STRINGS.experiments;
const SLIDER_STEPS = 200;

/** @param {App} app @returns {View} */
export function createExperiments(app) {
  const parts = [
    createTemperature(app),
    createHeads(app),
    createPositions(app),
    createValues(app),
    createMask(app),
    createNoise(app),
  ];
  const proof = el("p", { class: "proof whole" });
  const element = el(
    "section",
    { class: "experiments" },
    el("h3", {}, words.heading),
    proof,
    el("div", { class: "experiment-grid" }, ...parts.map((part) => part.element)),
  );
  return {
    element,
    update: () => {
      setText(proof, predictionProof(app));
      for (const part of parts) part.update();
    },
  };
}

/** @param {App} app @returns {View} */
export function createTemperature(app) {
  const { config } = app;
  const unscaled = unscaledTemperature(config);
  const scaling = createScaling(app);
  const slider = el("input", {
    type: "range",
    min: 0,
    max: SLIDER_STEPS,
    step: 1,
    "aria-label": words.temperature,
    list: "temperature-marks",
    on: { input: () => app.set({ temperature: temperatureAt(Number(slider.value)) }) },
  });
  const shown = el("output", {});
  const marks = el(
    "datalist",
    { id: "temperature-marks" },
    ...[1, unscaled].map((value) => el("option", { value: placeOnSlider(value) })),
  );
  const proof = el("p", { class: "proof" });
  const element = experiment(
    words.temperature,
    words.temperatureNote,
    config.attentionScale === "sqrt" && scaling.element,
    el("div", { class: "slider" }, slider, shown, marks),
    el("p", { class: "small" }, words.marks(unscaled)),
    proof,
  );
  return {
    element,
    update: () => {
      scaling.update();
      const { temperature } = app.state;
      slider.value = String(placeOnSlider(temperature));
      setAttribute(slider, "aria-valuetext", decimal(temperature));
      setText(shown, decimal(temperature));
      setText(proof, temperatureProof(app));
    },
  };
}

/** Scaling on or off, as a temperature, so that both are marks of one slider. @param {App} app */
export function createScaling(app) {
  const toggle = createToggle(words.scaling, () => {
    const on = isUnscaled(app.state, app.config);
    app.actions.scaling = on;
    if (!on) app.scaledTemperature = app.state.temperature;
    app.set({ temperature: on ? app.scaledTemperature : unscaledTemperature(app.config) });
  });
  const note = el("p", { class: "small" }, words.scalingNote);
  return {
    element: el("div", { class: "with-note" }, toggle.element, note),
    update: () => {
      const on = !isUnscaled(app.state, app.config);
      toggle.update(on, `${words.scaling}: ${on ? words.on : words.off}`);
    },
  };
}

/** @param {App} app */
export function createHeads(app) {
  const { depth, numHeads } = app.config;
  const buttons = Array.from({ length: depth * numHeads }, (_, i) =>
    createToggle(headLabel(Math.floor(i / numHeads), i % numHeads), () =>
      app.set({ removed: toggled(app.state.removed, i) }),
    ),
  );
  const table = el("div", { class: "head-toggles", role: "group", "aria-label": words.heads });
  table.style.setProperty("--columns", String(numHeads));
  table.append(...buttons.map(({ element }) => element));
  const element = experiment(words.heads, words.headsNote, table);
  return {
    element,
    update: () =>
      buttons.forEach((button, i) => {
        const [layer, head] = [Math.floor(i / numHeads), i % numHeads];
        const shown = layer === app.state.layer && head === app.state.head;
        button.update(!app.state.removed.includes(i));
        button.element.classList.toggle("shown-head", shown);
        setAttribute(button.element, "aria-label", words.remove(layer, head, shown));
      }),
  };
}

/** @param {App} app @returns {View} */
export function createPositions(app) {
  const positions = createToggle(words.positions, () => {
    app.actions.positions = !app.state.positions;
    app.set({ positions: !app.state.positions });
  });
  const shuffle = el(
    "button",
    { type: "button", on: { click: () => app.set({ seed: (app.state.seed % 999) + 1 }) } },
    words.shuffle,
  );
  const back = el(
    "button",
    { type: "button", on: { click: () => app.set({ seed: 0 }) } },
    words.unshuffle,
  );
  const proof = el("p", { class: "proof", "data-number": "shuffle" });
  const has = app.config.posEmbed !== "none";
  const element = experiment(
    words.positions,
    words.positionsNote,
    el("div", { class: "buttons" }, has && positions.element, shuffle, back),
    proof,
  );
  return {
    element,
    update: () => {
      const on = app.state.positions;
      positions.update(on, `${words.positions}: ${on ? words.on : words.off}`);
      setAttribute(back, "aria-disabled", app.state.seed === 0);
      setText(proof, shuffleProof(app));
    },
  };
}

/** @param {App} app */
function createValues(app) {
  const choice = createChoice({
    label: words.values,
    visibleLabel: false,
    options: VALUE_MODES.map((value) => ({ value, text: words.valuesModes[value] })),
    choose: (values) => app.set({ values }),
  });
  const proof = el("p", { class: "proof", "data-number": "values" });
  const element = experiment(words.values, words.valuesNote, choice.element, proof);
  return {
    element,
    update: () => {
      choice.update(app.state.values);
      setText(proof, valuesProof(app));
    },
  };
}

/** @param {App} app */
export function createMask(app) {
  const { patches, numPrefixTokens } = app.config;
  const map = createPatchMap(app, {
    className: "small-map",
    press: (patch) =>
      app.set({ masked: toggled(app.state.masked, patch + numPrefixTokens) }),
  });
  const scope = createChoice({
    label: words.where,
    visibleLabel: false,
    options: SCOPES.map((value) => ({ value, text: words.scopeNames[value], label: words.scopes[value] })),
    choose: (value) => app.set({ scope: value }),
  });
  const names = Array.from({ length: patches }, (_, patch) => STRINGS.token.name(patch));
  return {
    element: experiment(words.mask, words.maskNote, map.element, scope.element),
    update: () => {
      scope.update(app.state.scope);
      map.update({
        label: words.maskGrid,
        colours: new Array(patches).fill(null),
        names,
        selected: app.state.masked.map((token) => token - numPrefixTokens),
      });
    },
  };
}

/** @param {App} app */
function createNoise(app) {
  const { patches } = app.config;
  const map = createPatchMap(app, {
    className: "small-map",
    brush: true,
    press: (patch) => app.set({ noisyPatches: toggled(app.state.noisyPatches, patch) }),
  });
  const slider = el("input", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    "aria-label": `${words.noise}: ${words.deviation}`,
    on: { input: () => app.set({ noise: Number(slider.value) }) },
  });
  const shown = el("output", {});
  const proof = el("p", { class: "proof" });
  const names = Array.from({ length: patches }, (_, patch) => STRINGS.token.name(patch));
  return {
    element: experiment(
      words.noise,
      words.noiseNote,
      map.element,
      el("div", { class: "slider" }, slider, shown),
      proof,
    ),
    update: () => {
      slider.value = String(app.state.noise);
      setText(shown, decimal(app.state.noise));
      map.update({
        label: words.noiseGrid,
        colours: new Array(patches).fill(null),
        names,
        selected: app.state.noisyPatches,
      });
      setText(proof, noiseProof(app));
    },
  };
}

/**
 * @param {string} title
 * @param {string} note
 * @param {...(HTMLElement | false)} controls
 */
function experiment(title, note, ...controls) {
  return el(
    "div",
    { class: "experiment" },
    el("h4", {}, title),
    el("p", { class: "small" }, note),
    ...controls,
  );
}

/** The forward pass of the drawing in the trained model. @param {App} app */
export function trainedRun(app) {
  return app.compute({ ...app.state, ...trainedState() }, app.state.strokes).run;
}

/** @param {App} app */
function predictionProof(app) {
  const { run } = app.result;
  const before = run && trainedRun(app);
  if (!run || !before) return STRINGS.nothing;
  const [old, now] = [predictedClass(before), predictedClass(run)];
  const { classNames } = app.config;
  return words.predictionProof(classNames[old], before.probabilities[old], classNames[now], run.probabilities[now]);
}

/** @param {App} app */
function temperatureProof(app) {
  const { run } = app.result;
  const before = run && trainedRun(app);
  if (!run || !before) return "";
  const [now, trained] = [run, before].map((one) =>
    Math.max(...rowOf(app, chosenHead(app, one).weights, app.state.queryToken)),
  );
  return words.temperatureProof(now, trained);
}

/** @param {App} app */
function shuffleProof(app) {
  if (app.state.seed === 0) return words.shuffleHint;
  const inPlace = app.compute({ ...app.state, seed: 0 }, app.state.strokes).run;
  if (!app.result.run || !inPlace) return "";
  return words.shuffleProof(largestDifference(app.result.run.logits, inPlace.logits));
}

/** @param {App} app */
function valuesProof(app) {
  const { layer, values, strokes } = app.state;
  if (values === "trained") return "";
  const before = app.compute({ ...app.state, values: "trained" }, strokes).run;
  const { run } = app.result;
  if (!run || !before) return "";
  const weights = run.layers[layer].heads.map((head, i) =>
    largestDifference(head.weights, before.layers[layer].heads[i].weights),
  );
  return words.valuesProof(layer, Math.max(...weights), largestDifference(run.logits, before.logits));
}

/** @param {App} app */
function noiseProof(app) {
  const { noisyPatches, strokes } = app.state;
  if (noisyPatches.length === 0) return "";
  const before = app.compute({ ...app.state, noisyPatches: [] }, strokes).run;
  const { run } = app.result;
  if (!run || !before) return "";
  return words.noiseProof(shareOn(app, run), shareOn(app, before));
}

/**
 * The mean share of attention on the noisy patches, over all layers, heads and queries.
 * @param {App} app
 * @param {import("../model.js").Run} run
 */
function shareOn({ state, config }, run) {
  const { tokens, numPrefixTokens } = config;
  let sum = 0;
  for (const { heads } of run.layers) {
    for (const { weights } of heads) {
      weights.forEach((weight, i) => {
        if (state.noisyPatches.includes((i % tokens) - numPrefixTokens)) sum += weight;
      });
    }
  }
  return sum / (tokens * config.depth * config.numHeads);
}

/**
 * The current changes in words; empty for the trained model.
 * @param {App} app
 * @returns {string[]}
 */
export function changesOf(app) {
  const { state, config } = app;
  const { badges } = STRINGS;
  const where = words.scopes[state.scope];
  const masked = state.masked.map((token) => tokenName(app, token).toLowerCase());
  const changes = [
    isUnscaled(state, config) && badges.unscaled,
    state.temperature !== 1 && !isUnscaled(state, config) && badges.temperature(state.temperature),
    !state.positions && badges.positions,
    state.seed > 0 && badges.shuffled,
    state.removed.length > 0 && badges.removed(state.removed.length),
    state.values !== "trained" && badges.values(state.layer, state.values),
    state.masked.length > 0 && badges.masked(masked, where),
    state.noisyPatches.length > 0 && state.noise > 0 && badges.noise(state.noisyPatches.length),
    !state.centred && badges.uncentred,
  ];
  return changes.filter((change) => change !== false);
}

/** @param {number} place */
function temperatureAt(place) {
  const { min, max } = TEMPERATURES;
  const exact = min * (max / min) ** (place / SLIDER_STEPS);
  return Number(exact.toFixed(2));
}

/** @param {number} temperature */
function placeOnSlider(temperature) {
  const { min, max } = TEMPERATURES;
  return Math.round((SLIDER_STEPS * Math.log(temperature / min)) / Math.log(max / min));
}
