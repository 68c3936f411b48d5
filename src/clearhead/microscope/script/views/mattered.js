// Three maps of what mattered, side by side: last layer, rollout, silencing.

import { shareColour, signedColour } from "../colours.js";
import { el } from "../element.js";
import { percent, points } from "../numbers.js";
import { lastLayer, rollout } from "../rollout.js";
import { STRINGS } from "../strings.js";
import { createPatchMap } from "./patchmap.js";
import { withTable } from "./tabled.js";
import { answerOf, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

const words = STRINGS.mattered;
const DOMAIN = 1; // a probability can change by at most 100 points

/** @param {App} app */
export function createMattered(app) {
  const maps = /** @type {const} */ (["last", "rollout", "silencing"]).map((kind) => {
    const map = createPatchMap(app, {});
    const title = { last: words.last, rollout: words.rollout, silencing: words.silencing }[kind];
    const note = { last: words.lastNote, rollout: words.rolloutNote, silencing: words.silencingNote }[kind];
    const legend = el("p", { class: "small" }, kind === "silencing" ? `${words.domain(100)}. ${words.silencingColours}` : words.even(1 / app.config.tokens));
    const element = el("figure", {}, el("figcaption", {}, el("b", {}, title), " ", el("span", { class: "small" }, note)), map.element, legend);
    return { kind, title, map, element };
  });
  const row = el("div", { class: "three" }, ...maps.map(({ element }) => element));
  const tabled = withTable(row, () => matteredTable(app));
  const element = el(
    "section",
    { class: "mattered" },
    el("h3", {}, words.heading),
    el("p", { class: "small" }, words.note),
    tabled.element,
  );
  return {
    element,
    update: () => {
      element.classList.toggle("nothing", app.reading.run === null);
      if (app.reading.run === null || app.drawing) return;
      const facts = matteredFacts(app);
      for (const { kind, title, map } of maps) {
        const shares = facts.map((fact) => fact[kind]);
        const said = shares.map((share) => (share === null ? "…" : kind === "silencing" ? points(share) : percent(share)));
        map.update({
          label: title,
          colours: shares.map((share) => {
            if (share === null) return null;
            return kind === "silencing" ? signedColour(share, DOMAIN) : shareColour(share);
          }),
          names: facts.map(({ name }, i) => words.cell(name, said[i])),
          texts: said.map((text) => text.replace("\u202f%", "")),
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
export function matteredFacts(app) {
  const { run } = app.reading;
  if (run === null) return [];
  const { config } = app;
  const [last, flow] = [lastLayer(run, config), rollout(run, config)];
  const answer = answerOf(run);
  return Array.from({ length: config.patches }, (_, patch) => {
    const token = patch + config.numPrefixTokens;
    const after = app.influence?.silenced[token];
    return {
      name: tokenName(app, token),
      last: last[token],
      rollout: flow[token],
      silencing: after ? after[answer] - run.probabilities[answer] : null,
    };
  });
}

/** @param {App} app */
function matteredTable(app) {
  return {
    caption: words.table,
    columns: [STRINGS.answered.patch, words.last, words.rollout, words.silencing],
    rows: matteredFacts(app).map(({ name, last, rollout: flow, silencing }) => [
      name,
      percent(last),
      percent(flow),
      silencing === null ? "…" : points(silencing),
    ]),
  };
}
