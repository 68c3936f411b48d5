// Three maps of patch importance: last layer, rollout, masking.

import { shareColour, signedColour } from "../colours.js";
import { el } from "../element.js";
import { percent, points } from "../numbers.js";
import { lastLayer, rollout } from "../rollout.js";
import { STRINGS } from "../strings.js";
import { createPatchMap } from "./patchmap.js";
import { withTable } from "./tabled.js";
import { predictedClass, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

const words = STRINGS.importance;
const DOMAIN = 1; // a probability can change by at most 100 points

/** @param {App} app */
export function createImportance(app) {
  const maps = /** @type {const} */ (["last", "rollout", "masking"]).map((kind) => {
    const map = createPatchMap(app, {});
    const title = { last: words.last, rollout: words.rollout, masking: words.masking }[kind];
    const note = { last: words.lastNote, rollout: words.rolloutNote, masking: words.maskingNote }[kind];
    const legend = el("p", { class: "small" }, kind === "masking" ? `${words.domain(100)}. ${words.maskingColours}` : words.even(1 / app.config.tokens));
    const element = el("figure", {}, el("figcaption", {}, el("b", {}, title), " ", el("span", { class: "small" }, note)), map.element, legend);
    return { kind, title, map, element };
  });
  const row = el("div", { class: "three" }, ...maps.map(({ element }) => element));
  const tabled = withTable(row, () => importanceTable(app));
  const element = el(
    "section",
    { class: "importance" },
    el("h3", {}, words.heading),
    el("p", { class: "small" }, words.note),
    tabled.element,
  );
  return {
    element,
    update: () => {
      element.classList.toggle("nothing", app.result.run === null);
      if (app.result.run === null || app.drawing) return;
      const facts = importanceFacts(app);
      for (const { kind, title, map } of maps) {
        const shares = facts.map((fact) => fact[kind]);
        const texts = shares.map((share) => (share === null ? "…" : kind === "masking" ? points(share) : percent(share)));
        map.update({
          label: title,
          colours: shares.map((share) => {
            if (share === null) return null;
            return kind === "masking" ? signedColour(share, DOMAIN) : shareColour(share);
          }),
          names: facts.map(({ name }, i) => words.cell(name, texts[i])),
          texts: texts.map((text) => text.replace("\u202f%", "")),
        });
      }
      tabled.update();
    },
  };
}

/**
 * The three measures of every patch.
 * @param {App} app
 */
export function importanceFacts(app) {
  const { run } = app.result;
  if (run === null) return [];
  const { config } = app;
  const [last, flow] = [lastLayer(run, config), rollout(run, config)];
  const predicted = predictedClass(run);
  return Array.from({ length: config.patches }, (_, patch) => {
    const token = patch + config.numPrefixTokens;
    const after = app.influence?.masked[token];
    return {
      name: tokenName(app, token),
      last: last[token],
      rollout: flow[token],
      masking: after ? after[predicted] - run.probabilities[predicted] : null,
    };
  });
}

/** @param {App} app */
function importanceTable(app) {
  return {
    caption: words.table,
    columns: [STRINGS.attended.patch, words.last, words.rollout, words.masking],
    rows: importanceFacts(app).map(({ name, last, rollout: flow, masking }) => [
      name,
      percent(last),
      percent(flow),
      masking === null ? "…" : points(masking),
    ]),
  };
}
