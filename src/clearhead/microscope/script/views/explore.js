// Explore: query token, matrix and one entry; below them one of three panels.

import { el } from "../element.js";
import { FOCUSES } from "../state.js";
import { STRINGS } from "../strings.js";
import { createAttended } from "./attended.js";
import { createQueryPicker } from "./querypicker.js";
import { createCell } from "./cell.js";
import { createChoice } from "./choice.js";
import { createExperiments } from "./experiments.js";
import { createImportance } from "./importance.js";
import { createMatrix } from "./matrix.js";
import { createLayerAndHead, createStage } from "./pickers.js";
import { createSentence } from "./sentence.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createExplore(app) {
  const pickers = [createLayerAndHead(app), createStage(app)];
  const main = [createQueryPicker(app), createMatrix(app, () => app.state.stage), createCell(app)];
  const sentence = createSentence(app);
  const focus = createChoice({
    label: STRINGS.focus.label,
    visibleLabel: false,
    options: FOCUSES.map((value) => ({ value, text: STRINGS.focus[value] })),
    choose: (value) => app.set({ focus: value }),
  });
  const below = {
    attended: createAttended(app),
    importance: createImportance(app),
    experiments: createExperiments(app),
  };
  const parts = [
    el("div", { class: "toolbar" }, ...pickers.map((picker) => picker.element)),
    el("div", { class: "step-parts panel" }, ...main.map((part) => part.element)),
    sentence.element,
    el(
      "div",
      { class: "panel below" },
      focus.element,
      ...FOCUSES.map((name) => below[name].element),
    ),
  ];
  const element = el("div", { class: "view explore" }, ...parts);
  return {
    element,
    update: () => {
      // Without a digit, headings would have no content.
      for (const part of parts) part.hidden = app.result.run === null;
      if (app.result.run === null) return;
      for (const part of [...pickers, ...main, sentence]) part.update();
      focus.update(app.state.focus);
      for (const name of FOCUSES) below[name].element.hidden = name !== app.state.focus;
      below[app.state.focus].update();
    },
  };
}
