// The answer: probabilities of all classes, and how they grew layer by layer (the lens).

import { argmax } from "../arithmetic.js";
import { css, isLight, shareColour } from "../colours.js";
import { el, setText } from "../element.js";
import { percent } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { withTable } from "./tabled.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../reading.js").Reading} Reading */

const SURE = 0.6; // as clearhead.prediction: below it half of the answers are wrong

/**
 * The answer in a few words.
 * @param {Reading} reading
 * @param {string[]} answers
 */
export function answerWords({ status, run }, answers) {
  if (run === null) return status === "small" ? STRINGS.answer.small : STRINGS.answer.empty;
  const [first, second] = ranked(run.probabilities);
  const { probabilities } = run;
  if (probabilities[first] >= SURE || second === undefined) {
    return STRINGS.answer.sure(answers[first], probabilities[first]);
  }
  return STRINGS.answer.unsure(
    answers[first],
    probabilities[first],
    answers[second],
    probabilities[second],
  );
}

/** Whether the two most likely answers must both be shown. @param {Reading} reading */
export function isUnsure({ run }) {
  return run !== null && Math.max(...run.probabilities) < SURE;
}

/** @param {number[]} probabilities */
function ranked(probabilities) {
  return probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
}

/** @param {App} app */
export function createAnswer(app) {
  const { answers } = app.config;
  const words = el("p", { class: "answer-words" });
  const rows = answers.map((name) => {
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
    el("caption", { class: "hidden" }, STRINGS.answer.label),
    el(
      "thead",
      { class: "hidden" },
      el(
        "tr",
        {},
        el("th", { scope: "col" }, STRINGS.answer.answer),
        el("td", {}),
        el("th", { scope: "col" }, STRINGS.answer.probability),
      ),
    ),
    el("tbody", {}, ...rows.map(({ row }) => row)),
  );
  const element = el("section", { class: "panel answer" }, el("h2", {}, STRINGS.answer.heading), words, table);
  return {
    element,
    update: () => {
      const { run } = app.reading;
      setText(words, answerWords(app.reading, answers));
      words.classList.toggle("none", run === null);
      words.classList.toggle("unsure", isUnsure(app.reading));
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
  const { answers, depth } = app.config;
  /** @param {number} layer */
  const choose = (layer) => {
    app.acts.lens = layer;
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
    columns: [STRINGS.lens.layer, ...answers],
    rows: app.reading.lens.map((row, layer) => [layer, ...row.map((share) => percent(share))]),
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
      const { lens } = app.reading;
      buttons.forEach((button, layer) => {
        const row = lens[layer];
        const best = row ? argmax(row) : 0;
        const [, name, share] = button.children;
        setText(name, row ? answers[best] : "–");
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
