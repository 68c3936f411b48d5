// Who asks: the digit's patches, tinted by how much each answers the chosen one.

import { weightColour } from "../colours.js";
import { el, setAttribute } from "../element.js";
import { percent } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { blankTokens } from "./matrix.js";
import { createPatchMap } from "./patchmap.js";
import { chosenHead, rowOf, tokenName } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

/**
 * @param {App} app
 * @param {boolean} plain without attention: the patches alone
 */
export function createAsker(app, plain = false) {
  const { numPrefixTokens, tokens } = app.config;
  const map = createPatchMap(app, { move: (patch) => app.set({ asker: patch + numPrefixTokens }) });
  const classToken = el(
    "button",
    { type: "button", on: { click: () => app.set({ asker: 0 }) } },
    STRINGS.asker.classToken,
  );
  classToken.hidden = numPrefixTokens === 0;
  const element = el(
    "section",
    { class: "asker" },
    el("h3", {}, plain ? STRINGS.asker.plainHeading : STRINGS.asker.heading),
    el("p", { class: "small" }, plain ? STRINGS.asker.plainNote : STRINGS.asker.note),
    map.element,
    classToken,
  );
  function update() {
    const { run } = app.reading;
    const { asker, scale } = app.state;
    const weights = !plain && run && rowOf(app, chosenHead(app, run).weights, asker);
    const largest = weights ? Math.max(...weights) : 0;
    const blank = blankTokens(app);
    const patches = Array.from({ length: app.config.patches }, (_, patch) => patch + numPrefixTokens);
    setAttribute(classToken, "aria-pressed", asker < numPrefixTokens);
    map.update({
      label: STRINGS.asker.grid,
      chosen: asker < numPrefixTokens ? null : asker - numPrefixTokens,
      colours: patches.map((token) =>
        weights ? weightColour(weights[token], scale, 1 / tokens, largest) : null,
      ),
      names: patches.map((token) =>
        STRINGS.asker.cell(
          tokenName(app, token),
          [
            token === asker && STRINGS.asker.chosen,
            blank[token] && STRINGS.token.blank,
            weights && percent(weights[token]),
          ]
            .filter(Boolean)
            .join(", "),
        ),
      ),
    });
  }
  return { element, update };
}
