// The entry point: parses the payload, creates the views, and shows the selected one.

import { el, fill, setAttribute } from "./element.js";
import { trainedSwitches } from "./experiments.js";
import { buildModel, forward, lens } from "./model.js";
import { buildTextModel, likeliest, forwardText, readTextConfig, wordLogits } from "./text.js";
import { encode } from "./words.js";
import { readConfig } from "./config.js";
import { normalize } from "./pixels.js";
import { rasterise } from "./raster.js";
import { readPayload } from "./payload.js";
import { readTensors } from "./weights.js";
import { toCsv, toSvg } from "./save.js";
import { createStore } from "./store.js";
import { STRINGS } from "./strings.js";
import { pictureOf } from "./views/pictures.js";
import { createAbout } from "./views/about.js";
import { createPrediction, createLens } from "./views/prediction.js";
import { createCompare } from "./views/compare.js";
import { createDraw, createModelInput } from "./views/digit.js";
import { createExplore } from "./views/explore.js";
import { createHeader, createNotices } from "./views/header.js";
import { createHeadsView } from "./views/heads.js";
import { createText } from "./views/text.js";
import { createWalk } from "./views/walk.js";

/** @typedef {import("./store.js").App} App */

/** Draws the page; created with the first frame. @type {((app: App) => void) | null} */
let show = null;

const payload = readPayload(document);
const { text } = payload;
const config = readConfig(payload.settings, readTextConfig(text.settings));
const model = buildModel(config, readTensors(payload.weights, payload.tensors));
const textModel = buildTextModel(config.text, readTensors(payload.textWeights, text.tensors));
const app = createStore(model, textModel, payload, (current) => {
  show ??= createPage(current);
  show(current);
});

// The page's own functions, for the browser's console and for tests.
Object.assign(globalThis, {
  clearhead: {
    ...{ app, model, forward, lens, normalize, rasterise, trainedSwitches, pictureOf, toSvg, toCsv },
    ...{ textModel, forwardText, wordLogits, likeliest, encode },
  },
});

/** The first tab stop: a link that skips tabs, tools and canvas. @param {HTMLElement} panel */
function skipLink(panel) {
  /** @param {Event} event prevented, because the address holds the state */
  const skip = (event) => {
    event.preventDefault();
    panel.focus();
    panel.scrollIntoView({ block: "start", behavior: "instant" });
  };
  return el("a", { class: "skip", href: "#view", on: { click: skip } }, STRINGS.skip);
}

/**
 * @param {App} current
 * @returns {(app: App) => void}
 */
function createPage(current) {
  const header = createHeader(current);
  const notices = createNotices(current);
  const rail = [createDraw(current), createModelInput(current), createPrediction(current), createLens(current)];
  const views = {
    walk: createWalk(current),
    explore: createExplore(current),
    heads: createHeadsView(current),
    compare: createCompare(current),
    text: createText(current),
    about: createAbout(current),
  };
  const nothing = el("p", { class: "sentence" }, STRINGS.nothing);
  const panel = el("div", { id: "view", role: "tabpanel", tabindex: -1 });
  header.element.append(notices.element);
  const side = el("aside", { class: "rail", "aria-label": STRINGS.draw.heading }, ...rail.map((part) => part.element));
  const desk = el("div", { class: "desk" }, side, el("main", {}, nothing, panel));
  const root = document.getElementById("app");
  if (root) fill(root, skipLink(panel), header.element, notices.strip, desk);
  let shown = "";
  return ({ state, drawing, inkOnly, settled, examples, result }) => {
    if (inkOnly) {
      rail[0].update();
      views.compare.updatePad();
      return;
    }
    if (shown !== state.tab) {
      shown = state.tab;
      fill(panel, views[state.tab].element);
      setAttribute(panel, "aria-labelledby", `tab-${state.tab}`);
      if (state.tab === "walk") views.walk.opened();
    }
    header.update();
    notices.update();
    for (const part of rail) part.update();
    views[state.tab].update();
    side.hidden = state.tab === "text";
    root?.classList.toggle("alone", side.hidden);
    nothing.hidden = result.run !== null || state.tab === "about" || state.tab === "text";
    setAttribute(document.documentElement, "data-drawing", drawing || null);
    setAttribute(document.documentElement, "data-settled", (settled && examples.done) || null);
  };
}
