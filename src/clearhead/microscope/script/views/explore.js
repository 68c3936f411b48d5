// Explore: asker, matrix and one cell side by side; below them one thing at a time.

import { el } from "../element.js";
import { FOCUSES } from "../state.js";
import { STRINGS } from "../strings.js";
import { createAnswered } from "./answered.js";
import { createAsker } from "./asker.js";
import { createCell } from "./cell.js";
import { createChoice } from "./choice.js";
import { createExperiments } from "./experiments.js";
import { createMattered } from "./mattered.js";
import { createMatrix } from "./matrix.js";
import { createLayerAndHead, createStage } from "./pickers.js";
import { createSentence } from "./sentence.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createExplore(app) {
  const pickers = [createLayerAndHead(app), createStage(app)];
  const main = [createAsker(app), createMatrix(app, () => app.state.stage), createCell(app)];
  const sentence = createSentence(app);
  const focus = createChoice({
    label: STRINGS.focus.label,
    visibleLabel: false,
    options: FOCUSES.map((value) => ({ value, text: STRINGS.focus[value] })),
    choose: (value) => app.set({ focus: value }),
  });
  const below = {
    answered: createAnswered(app),
    mattered: createMattered(app),
    experiments: createExperiments(app),
  };
  const parts = [
    el("div", { class: "toolbar" }, ...pickers.map((picker) => picker.element)),
    el("div", { class: "bench panel" }, ...main.map((part) => part.element)),
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
      // Without a digit there would be headings over nothing.
      for (const part of parts) part.hidden = app.reading.run === null;
      if (app.reading.run === null) return;
      for (const part of [...pickers, ...main, sentence]) part.update();
      focus.update(app.state.focus);
      for (const name of FOCUSES) below[name].element.hidden = name !== app.state.focus;
      below[app.state.focus].update();
    },
  };
}
