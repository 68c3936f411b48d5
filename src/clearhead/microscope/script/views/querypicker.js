// The query token: the digit's patches, coloured by the query token's attention to each.

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
 * @param {boolean} plain without colours of attention
 */
export function createQueryPicker(app, plain = false) {
  const { numPrefixTokens, tokens } = app.config;
  const map = createPatchMap(app, { move: (patch) => app.set({ queryToken: patch + numPrefixTokens }) });
  const classToken = el(
    "button",
    { type: "button", on: { click: () => app.set({ queryToken: 0 }) } },
    STRINGS.queryPicker.classToken,
  );
  classToken.hidden = numPrefixTokens === 0;
  const element = el(
    "section",
    { class: "query-picker" },
    el("h3", {}, plain ? STRINGS.queryPicker.plainHeading : STRINGS.queryPicker.heading),
    el("p", { class: "small" }, plain ? STRINGS.queryPicker.plainNote : STRINGS.queryPicker.note),
    map.element,
    classToken,
  );
  function update() {
    const { run } = app.result;
    const { queryToken, scale } = app.state;
    const weights = !plain && run && rowOf(app, chosenHead(app, run).weights, queryToken);
    const largest = weights ? Math.max(...weights) : 0;
    const blank = blankTokens(app);
    const patches = Array.from({ length: app.config.patches }, (_, patch) => patch + numPrefixTokens);
    setAttribute(classToken, "aria-pressed", queryToken < numPrefixTokens);
    map.update({
      label: STRINGS.queryPicker.grid,
      chosen: queryToken < numPrefixTokens ? null : queryToken - numPrefixTokens,
      colours: patches.map((token) =>
        weights ? weightColour(weights[token], scale, 1 / tokens, largest) : null,
      ),
      names: patches.map((token) =>
        STRINGS.queryPicker.cell(
          tokenName(app, token),
          [
            token === queryToken && STRINGS.queryPicker.chosen,
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
