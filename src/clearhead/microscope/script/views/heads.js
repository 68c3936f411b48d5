// Every head of every layer: thumbnails on one scale, measures, and names only above a threshold.

import { weightColour } from "../colours.js";
import { el, fill, setAttribute, setText } from "../element.js";
import { usualBlankShare, usualMeasures } from "../examples.js";
import { measureHead, roleOf, THRESHOLDS } from "../measures.js";
import { decimal, percent, points } from "../numbers.js";
import { weightScale } from "../scales.js";
import { toggled } from "../state.js";
import { STRINGS, headLabel } from "../strings.js";
import { createCanvas, drawMatrix } from "./canvas.js";
import { createLegend } from "./legend.js";
import { createScale } from "./pickers.js";
import { tableElement } from "./tabled.js";
import { predictedClass } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

const words = STRINGS.heads;

/** @param {App} app */
export function createHeadsView(app) {
  const { depth, numHeads } = app.config;
  const scale = createScale(app);
  const legend = createLegend();
  const cards = Array.from({ length: depth * numHeads }, (_, i) => createCard(app, Math.floor(i / numHeads), i % numHeads));
  const wall = el("div", { class: "wall" }, ...cards.map(({ element }) => element));
  wall.style.setProperty("--columns", String(numHeads));
  const details = createDetails(app);
  const thresholds = el("p", { class: "small" });
  const holder = el("div", { class: "table-holder tall", tabindex: 0, role: "region", "aria-label": words.table });
  const element = el(
    "div",
    { class: "view heads" },
    el("div", { class: "panel" },
      el("h3", {}, words.heading),
      el("p", { class: "small" }, words.note),
      el("div", { class: "toolbar" }, scale.element, legend.element),
      el("div", { class: "wall-and-details" }, wall, details.element),
      thresholds,
    ),
    el("div", { class: "panel" }, holder, el("p", { class: "small" }, words.changeNote)),
  );
  return {
    element,
    update: () => {
      scale.update();
      const { run } = app.result;
      element.classList.toggle("nothing", run === null);
      if (run === null || app.drawing) return;
      const facts = headFacts(app);
      const largest = Math.max(...facts.map((fact) => fact.largest));
      legend.show(weightScale(app.state.scale, 1 / app.config.tokens, largest));
      cards.forEach((card, i) => card.update(facts[i], largest));
      details.update(facts[app.state.layer * numHeads + app.state.head]);
      setText(thresholds, words.thresholds(THRESHOLDS, app.examples.results.length));
      fill(holder, tableElement(headsTable(facts)));
    },
  };
}

/**
 * The facts about every head, layer by layer.
 * @param {App} app
 */
export function headFacts(app) {
  const { run, blank } = app.result;
  if (run === null) return [];
  const { config, examples, model } = app;
  const predicted = predictedClass(run);
  return run.layers.flatMap(({ heads }, layer) =>
    heads.map(({ weights }, head) => {
      const after = app.influence?.removed[layer * config.numHeads + head];
      const usual = examples.done ? usualMeasures(examples, model, layer, head) : null;
      return {
        layer,
        head,
        weights,
        largest: weights.reduce((max, weight) => Math.max(max, weight), 0),
        measures: measureHead(weights, config, blank),
        usual,
        role: usual ? roleOf(usual, config, usualBlankShare(examples)) : null,
        change: after ? after[predicted] - run.probabilities[predicted] : null,
      };
    }),
  );
}

/** @typedef {ReturnType<typeof headFacts>[number]} HeadFact */

/**
 * @param {App} app
 * @param {number} layer
 * @param {number} head
 */
function createCard(app, layer, head) {
  const { tokens, numHeads } = app.config;
  const canvas = createCanvas(tokens, tokens, "thumb");
  canvas.setAttribute("aria-hidden", "true");
  const name = el("b", {}, headLabel(layer, head));
  const removing = el("span", { class: "hidden" }, ` ${words.change} `);
  const role = el("span", { class: "role" });
  const change = el("span", { class: "change" });
  const element = el(
    "button",
    { type: "button", class: "card", on: { click: () => app.set({ layer, head }) } },
    canvas,
    el("span", { class: "card-line" }, name, removing, change),
    role,
  );
  /** @param {HeadFact} fact @param {number} largest */
  const update = (fact, largest) => {
    const { scale, removed } = app.state;
    drawMatrix(canvas, fact.weights, (weight) => weightColour(weight, scale, 1 / tokens, largest));
    const gone = removed.includes(layer * numHeads + head);
    setText(role, fact.role ? words.roles[fact.role] : "…");
    setText(change, gone ? words.removed : fact.change === null ? "…" : points(fact.change));
    setAttribute(element, "aria-pressed", app.state.layer === layer && app.state.head === head);
  };
  return { element, update };
}

/** @param {App} app */
function createDetails(app) {
  const title = el("h4", {});
  const facts = el("dl", { class: "facts" });
  const table = el("div", {});
  const look = el("button", { type: "button", on: { click: () => app.set({ tab: "explore", stage: "weights" }) } }, words.look);
  const remove = el("button", {
    type: "button",
    on: {
      click: () => {
        const { removed, layer, head } = app.state;
        app.set({ removed: toggled(removed, layer * app.config.numHeads + head) });
      },
    },
  });
  const element = el("aside", { class: "details", "aria-label": words.heading }, title, facts, table, el("div", { class: "buttons" }, look, remove));
  /** @param {HeadFact} fact */
  const update = (fact) => {
    const { layer, head, role, change } = fact;
    setText(title, words.name(layer, head));
    setText(remove, app.state.removed.includes(layer * app.config.numHeads + head) ? words.putBack : words.remove);
    const lines = [
      [words.role, role ? words.roles[role] : "…"],
      [words.change, change === null ? "…" : points(change)],
    ];
    fill(facts, ...lines.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    fill(table, tableElement(measuresTable(fact)));
  };
  return { element, update };
}

/** Measures on the drawing beside the mean over the examples, which decides the name. @param {HeadFact} fact */
function measuresTable({ layer, head, measures, usual }) {
  const here = measureTexts(measures);
  const mean = usual ? measureTexts(usual) : here.map(() => "…");
  return {
    caption: words.measures(layer, head),
    columns: [words.measure, words.here, words.usual],
    rows: [words.entropy, words.distance, words.itself, words.blank, words.shared].map((name, i) => [name, here[i], mean[i]]),
  };
}

/** @param {import("../measures.js").Measures} measures */
function measureTexts({ entropy, distance, itself, blank, shared }) {
  return [decimal(entropy), decimal(distance), percent(itself), percent(blank), percent(shared)];
}

/** @param {HeadFact[]} facts */
export function headsTable(facts) {
  const columns = [words.head, words.entropy, words.distance, words.itself, words.blank, words.shared, words.change, words.role];
  return {
    caption: words.table,
    columns,
    rows: facts.map(({ layer, head, measures, change, role }) => [
      headLabel(layer, head),
      ...measureTexts(measures),
      change === null ? "…" : points(change),
      role ? words.roles[role] : "…",
    ]),
  };
}
