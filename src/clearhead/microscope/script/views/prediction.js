// The prediction: probabilities of all classes, and the logit lens.

import { argmax } from "../arithmetic.js";
import { css, isLight, shareColour } from "../colours.js";
import { el, setText } from "../element.js";
import { percent } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { withTable } from "./tabled.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../result.js").Result} Result */

const SURE = 0.6; // as in clearhead.inference: half of the predictions below it are wrong

/**
 * The prediction in words.
 * @param {Result} result
 * @param {string[]} classNames
 */
export function predictionWords({ status, run }, classNames) {
  if (run === null) return status === "small" ? STRINGS.prediction.small : STRINGS.prediction.empty;
  const [first, second] = ranked(run.probabilities);
  const { probabilities } = run;
  if (probabilities[first] >= SURE || second === undefined) {
    return STRINGS.prediction.sure(classNames[first], probabilities[first]);
  }
  return STRINGS.prediction.unsure(
    classNames[first],
    probabilities[first],
    classNames[second],
    probabilities[second],
  );
}

/** Whether the two most likely classes are both shown. @param {Result} result */
export function isUnsure({ run }) {
  return run !== null && Math.max(...run.probabilities) < SURE;
}

/** @param {number[]} probabilities */
function ranked(probabilities) {
  return probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
}

/** @param {App} app */
export function createPrediction(app) {
  const { classNames } = app.config;
  const words = el("p", { class: "prediction-words" });
  const rows = classNames.map((name) => {
    const fillBar = el("span", { class: "fill" });
    const value = el("td", { class: "value", "data-number": "probability" });
    const row = el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", { class: "track-holder" }, el("span", { class: "track" }, fillBar)),
      value,
    );
    return { row, fillBar, value };
  });
  const table = el(
    "table",
    { class: "bars" },
    el("caption", { class: "hidden" }, STRINGS.prediction.label),
    el(
      "thead",
      { class: "hidden" },
      el(
        "tr",
        {},
        el("th", { scope: "col" }, STRINGS.prediction.className),
        el("td", {}),
        el("th", { scope: "col" }, STRINGS.prediction.probability),
      ),
    ),
    el("tbody", {}, ...rows.map(({ row }) => row)),
  );
  const element = el("section", { class: "panel prediction" }, el("h2", {}, STRINGS.prediction.heading), words, table);
  return {
    element,
    update: () => {
      const { run } = app.result;
      setText(words, predictionWords(app.result, classNames));
      words.classList.toggle("none", run === null);
      words.classList.toggle("unsure", isUnsure(app.result));
      const best = run && argmax(run.probabilities);
      rows.forEach(({ row, fillBar, value }, i) => {
        const share = run ? run.probabilities[i] : 0;
        row.classList.toggle("best", i === best);
        fillBar.style.width = `${share * 100}%`;
        setText(value, run ? percent(share) : "–");
      });
    },
  };
}

/** @param {App} app */
export function createLens(app) {
  const { classNames, depth } = app.config;
  /** @param {number} layer */
  const choose = (layer) => {
    app.actions.lens = layer;
    app.set({ layer: Math.max(0, layer - 1) });
  };
  const buttons = Array.from({ length: depth + 1 }, (_, layer) =>
    el(
      "button",
      {
        type: "button",
        class: "lens-cell",
        on: { click: () => choose(layer) },
      },
      el("span", { class: "lens-layer" }, el("span", { class: "hidden" }, `${STRINGS.lens.layer} `), String(layer)),
      el("b", {}),
      el("span", { class: "lens-share" }),
    ),
  );
  const strip = el("div", { class: "lens" }, ...buttons);
  const tabled = withTable(strip, () => ({
    caption: STRINGS.lens.table,
    columns: [STRINGS.lens.layer, ...classNames],
    rows: app.result.lens.map((row, layer) => [layer, ...row.map((share) => percent(share))]),
  }));
  const element = el(
    "section",
    { class: "panel lens-panel" },
    el("h2", {}, STRINGS.lens.heading),
    el("p", { class: "small" }, STRINGS.lens.note),
    tabled.element,
  );
  return {
    element,
    update: () => {
      const { lens } = app.result;
      buttons.forEach((button, layer) => {
        const row = lens[layer];
        const best = row ? argmax(row) : 0;
        const [, name, share] = button.children;
        setText(name, row ? classNames[best] : "–");
        setText(share, row ? percent(row[best]) : "");
        const colour = shareColour(row ? row[best] : 0);
        button.style.backgroundColor = row ? css(colour) : "";
        button.classList.toggle("light", Boolean(row) && isLight(colour));
        button.classList.toggle("dark", Boolean(row) && !isLight(colour));
        button.disabled = !row;
      });
      tabled.update();
    },
  };
}
