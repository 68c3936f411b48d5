// About: the page, its self-check, the model, the keyboard.

import { el, fill, setText } from "../element.js";
import { forward } from "../model.js";
import { switchesOf } from "../state.js";
import { STRINGS } from "../strings.js";

/** @typedef {import("../store.js").App} App */

const words = STRINGS.about;
const TIMED = 5; // forward passes, of which the fastest counts

/** @param {App} app */
export function createAbout(app) {
  const check = el("p", { "data-number": "self-check" });
  const facts = el("dl", { class: "facts" });
  let time = 0;
  const element = el(
    "div",
    { class: "view about" },
    el(
      "div",
      { class: "panel prose" },
      el("h3", {}, words.heading),
      ...words.paragraphs.map((text) => el("p", {}, text)),
      el("h4", {}, words.check),
      check,
      el("h4", {}, words.model),
      facts,
      el("h4", {}, words.keys),
      el("ul", {}, ...words.keyList.map((text) => el("li", {}, text))),
      el("h4", {}, words.sources),
      el("ul", {}, ...words.references.map((text) => el("li", {}, text))),
    ),
  );
  return {
    element,
    update: () => {
      const { examples } = app;
      setText(
        check,
        examples.failed
          ? words.notPassed(examples.difference)
          : examples.done
            ? words.passed(examples.results.length, examples.difference)
            : words.checking,
      );
      check.classList.toggle("bad", examples.failed);
      time ||= passTime(app);
      fill(facts, ...factsOf(app, time).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    },
  };
}

/**
 * @param {App} app
 * @param {number} time
 */
function factsOf({ config, payload }, time) {
  const names = words.facts;
  const [high, wide] = config.imageShape;
  const count = payload.tensors.reduce(
    (sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1),
    0,
  );
  const { accuracy } = payload;
  return [
    [names.name, payload.name],
    [names.image, `${high} × ${wide} × ${config.inChannels}`],
    [names.tokens, String(config.tokens)],
    [names.layers, `${config.depth} × ${config.numHeads}`],
    [names.dims, `${config.embedDim} (${config.headDim})`],
    [names.weights, words.weights(count.toLocaleString("en-GB"))],
    [names.accuracy, accuracy ? words.accuracy(accuracy.correct, accuracy.total, accuracy.full) : words.unknown],
    [names.version, payload.version],
    [names.time, time ? words.time(time) : "–"],
  ];
}

/** The fastest of a few passes, in milliseconds; 0 without a drawing. @param {App} app */
function passTime({ model, result, state, config }) {
  const { run } = result;
  if (run === null) return 0;
  const times = Array.from({ length: TIMED }, () => {
    const start = performance.now();
    forward(model, run.pixels, switchesOf(state, config));
    return performance.now() - start;
  });
  return Math.min(...times);
}
