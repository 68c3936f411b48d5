// Controls for layer, head, stage and scale.

import { el } from "../element.js";
import { SCALE_MODES } from "../state.js";
import { STAGES } from "../stages.js";
import { STRINGS } from "../strings.js";
import { createChoice } from "./choice.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createLayerAndHead(app) {
  const { depth, numHeads } = app.config;
  const layer = createChoice({
    label: STRINGS.pick.layer,
    options: Array.from({ length: depth }, (_, i) => ({
      value: i,
      text: String(i + 1),
      label: STRINGS.pick.layerName(i),
    })),
    choose: (value) => app.set({ layer: value }),
  });
  const head = createChoice({
    label: STRINGS.pick.head,
    options: Array.from({ length: numHeads }, (_, i) => ({
      value: i,
      text: String(i + 1),
      label: STRINGS.pick.headName(i),
    })),
    choose: (value) => app.set({ head: value }),
  });
  return {
    element: el("div", { class: "pickers" }, layer.element, head.element),
    update: () => {
      layer.update(app.state.layer);
      head.update(app.state.head);
    },
  };
}

/** @param {App} app */
export function createStage(app) {
  const choice = createChoice({
    label: STRINGS.pick.stage,
    options: STAGES.map((value) => ({ value, text: STRINGS.pick.stages[value] })),
    choose: (stage) => app.set({ stage }),
  });
  return { element: choice.element, update: () => choice.update(app.state.stage) };
}

/** @param {App} app */
export function createScale(app) {
  const choice = createChoice({
    label: STRINGS.pick.scale,
    options: SCALE_MODES.map((value) => ({ value, text: STRINGS.pick.scales[value] })),
    choose: (scale) => app.set({ scale }),
  });
  return { element: choice.element, update: () => choice.update(app.state.scale) };
}
