// The matrix of the chosen stage: rows are query tokens, columns key tokens.

import { signedColour, weightColour } from "../colours.js";
import { el, setText } from "../element.js";
import { decimal, percent } from "../numbers.js";
import { scoreDomain, signedScale, weightScale, writtenWeight } from "../scales.js";
import { isUnscaled } from "../state.js";
import { STRINGS } from "../strings.js";
import { createGrid } from "./grid.js";
import { createLegend } from "./legend.js";
import { createScale } from "./pickers.js";
import { withTable } from "./tabled.js";
import { chosenHead, rowOf, tokenName, tokenShort } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../stages.js").StageName} StageName */

/**
 * @param {App} app
 * @param {() => StageName} stageOf
 */
export function createMatrix(app, stageOf) {
  const { tokens } = app.config;
  const heads = Array.from({ length: tokens }, (_, token) => ({
    text: tokenShort(app, token),
    label: tokenName(app, token),
  }));
  const grid = createGrid({
    rows: tokens,
    columns: tokens,
    className: "matrix",
    corner: STRINGS.matrix.corner,
    rowHeads: heads,
    columnHeads: heads,
    move: (queryToken, keyToken) => {
      app.actions.keyToken = true;
      app.set({ queryToken, keyToken });
    },
  });
  const legend = createLegend();
  const scale = createScale(app);
  const heading = el("h3", {});
  const note = el("p", { class: "small" });
  const tabled = withTable(grid.element, () => matrixTable(app, stageOf()));
  const element = el("section", { class: "matrix-holder" }, heading, note, legend.element, tabled.element, scale.element);

  function update() {
    const stage = stageOf();
    const { run } = app.result;
    const undivided = stage === "scaled" && isUnscaled(app.state, app.config);
    setText(heading, undivided ? STRINGS.matrix.unscaled.heading : STRINGS.matrix.heading[stage]);
    setText(note, undivided ? STRINGS.matrix.unscaled.note : STRINGS.matrix.note[stage]);
    element.classList.toggle("nothing", run === null);
    scale.element.hidden = stage !== "weights";
    scale.update();
    if (run === null) return;
    const { state, config } = app;
    const values = chosenHead(app, run)[stage];
    const largest = values.reduce((max, value) => Math.max(max, value), 0);
    const even = 1 / tokens;
    const domain = stage === "weights" ? 1 : scoreDomain(chosenHead(app, run));
    if (stage === "weights") legend.show(weightScale(state.scale, even, largest));
    else legend.show(signedScale(domain, STRINGS.matrix.domain(domain)));
    element.classList.toggle("stretched", stage === "weights" && state.scale === "stretched");
    const dense = config.tokens > 20;
    grid.update({
      label: STRINGS.matrix.label(STRINGS.pick.stages[stage], state.layer, state.head),
      chosen: [state.queryToken, state.keyToken],
      settled: !app.drawing,
      blankColumns: blankTokens(app),
      cells: Array.from(values, (value, i) => {
        const [queryToken, keyToken] = [tokenName(app, Math.floor(i / tokens)), tokenName(app, i % tokens)];
        const low = keyToken.toLowerCase();
        if (stage !== "weights") {
          return {
            colour: value === -Infinity ? null : signedColour(value, domain),
            label: app.drawing ? "" : STRINGS.matrix.score(queryToken, low, value),
          };
        }
        return {
          colour: weightColour(value, state.scale, even, largest),
          text: dense ? "" : writtenWeight(value, even),
          label: app.drawing ? "" : STRINGS.matrix.weight(queryToken, low, value, value / even),
        };
      }),
    });
    if (!app.drawing) tabled.update();
  }
  return { element, update };
}

/**
 * Which tokens are blank patches.
 * @param {App} app
 */
export function blankTokens({ config, result }) {
  return Array.from({ length: config.tokens }, (_, token) =>
    Boolean(result.blank[token - config.numPrefixTokens]),
  );
}

/**
 * The matrix as a table of numbers.
 * @param {App} app
 * @param {StageName} stage
 */
export function matrixTable(app, stage) {
  const { config, result, state } = app;
  const names = Array.from({ length: config.tokens }, (_, token) => tokenShort(app, token));
  const values = result.run ? chosenHead(app, result.run)[stage] : new Float64Array(0);
  return {
    caption: STRINGS.matrix.label(STRINGS.pick.stages[stage], state.layer, state.head),
    columns: [STRINGS.matrix.corner, ...names],
    rows: names.map((name, token) => [
      name,
      ...Array.from(rowOf(app, values, token), (value) =>
        stage === "weights" ? percent(value) : decimal(value),
      ),
    ]),
  };
}
