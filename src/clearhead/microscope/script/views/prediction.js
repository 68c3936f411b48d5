// The prediction: probabilities of all classes, and the logit lens.

import { argmax, softmax } from "../arithmetic.js";
import { css, isLight, shareColour } from "../colours.js";
import { el, setText } from "../element.js";
import { percent } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { withTable } from "./tabled.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../result.js").Result} Result */

/** @typedef {import("../config.js").Config} Config */

/**
 * Confident, doubtful or rejected, as in clearhead.inference.
 * @param {Result} result
 * @param {Config} config
 */
export function statusOf({ run, several }, { doubtfulBelow, rejectedBelow, thresholdTemperature }) {
  if (run === null) return "rejected";
  const probability = Math.max(...softmax(run.logits.map((x) => x / thresholdTemperature)));
  if (probability < rejectedBelow) return "rejected";
  return probability < doubtfulBelow || several ? "doubtful" : "confident";
}

/**
 * The prediction in words.
 * @param {Result} result
 * @param {Config} config
 */
export function predictionWords(result, config) {
  const { status, run, several } = result;
  if (run === null) return status === "small" ? STRINGS.prediction.small : STRINGS.prediction.empty;
  const state = statusOf(result, config);
  const [first, second] = ranked(run.probabilities).map((i) => ({ name: config.classNames[i], share: run.probabilities[i] }));
  const remark = several ? ` ${STRINGS.prediction.several}` : "";
  if (state === "rejected") return STRINGS.prediction.rejected(first.name, first.share) + remark;
  if (state === "confident" || second === undefined) return STRINGS.prediction.sure(first.name, first.share) + remark;
  return STRINGS.prediction.unsure(first.name, first.share, second.name, second.share) + remark;
}

/** @param {number[]} probabilities */
function ranked(probabilities) {
  return probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
}

/** @param {App} app */
export function createPrediction(app) {
  const { config } = app;
  const { classNames } = config;
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
      const status = statusOf(app.result, config);
      setText(words, predictionWords(app.result, config));
      words.classList.toggle("none", status === "rejected");
      words.classList.toggle("unsure", status === "doubtful");
      const best = run && status !== "rejected" ? argmax(run.probabilities) : null;
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
