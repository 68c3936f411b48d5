// The walk: ten steps from digit to answer, one sentence, one formula and one thing to try each.

import { el, fill, setAttribute, setText } from "../element.js";
import { STEPS } from "../state.js";
import { STRINGS } from "../strings.js";
import { attempts } from "./attempts.js";
import { moveBetween } from "./roving.js";
import { createStations } from "./stations.js";
import { createLayerAndHead } from "./pickers.js";

/** @typedef {import("../store.js").App} App */

const words = STRINGS.walk;
const FIRST_WITH_HEADS = 3; // before it, there is no layer and no head to choose

/** @param {App} app */
export function createWalk(app) {
  const steps = words.steps.map(({ name }, i) =>
    el("button", { type: "button", class: "step", on: { click: () => app.set({ step: i }) } }, el("span", { class: "step-number" }, String(i + 1)), ` ${name}`),
  );
  const list = el("nav", { class: "steps", "aria-label": words.label }, ...steps);
  moveBetween(list, steps, (step) => app.set({ step }));
  const back = el("button", { type: "button", on: { click: () => go(-1) } }, `◀ ${words.back}`);
  const next = el("button", { type: "button", class: "primary", on: { click: () => go(1) } }, `${words.next} ▶`);
  const heading = el("h3", { tabindex: -1 });
  const text = el("p", { class: "lead" });
  const formula = el("p", { class: "formula" });
  const tick = el("span", { class: "tick-box", "aria-hidden": "true" });
  const attempt = el("span", {});
  const done = el("span", { class: "done-word" });
  const pickers = createLayerAndHead(app);
  const stations = createStations(app);
  const body = el("div", { class: "station" });
  const element = el(
    "div",
    { class: "view walk" },
    el("div", { class: "walk-head" }, list, el("div", { class: "buttons" }, back, next)),
    el(
      "div",
      { class: "panel" },
      el("div", { class: "walk-title" }, heading, pickers.element),
      text,
      formula,
      el("p", { class: "attempt" }, tick, el("b", {}, `${words.tryThis}: `), attempt, " ", done),
      body,
    ),
  );
  /** @type {{step: number, start: import("../state.js").State, done: boolean[]}} */
  const memory = { step: -1, start: app.state, done: new Array(STEPS).fill(false) };

  /** @param {number} by */
  function go(by) {
    const step = app.state.step + by;
    if (step >= 0 && step < STEPS) app.set({ step });
  }

  function update() {
    const { step } = app.state;
    const station = stations[step];
    if (memory.step !== step) {
      Object.assign(memory, { step, start: app.state });
      fill(body, station.element);
    }
    if (!memory.done[step] && attempts[step](app, memory.start)) {
      memory.done[step] = true;
      app.say(`${words.tryThis}: ${words.done}`);
    }
    steps.forEach((button, i) => {
      setAttribute(button, "aria-current", i === step ? "step" : null);
      setAttribute(button, "tabindex", i === step ? 0 : -1);
      button.classList.toggle("done", memory.done[i]);
    });
    setAttribute(back, "aria-disabled", step === 0);
    setAttribute(next, "aria-disabled", step === STEPS - 1);
    setText(heading, `${step + 1}  ${words.steps[step].name}`);
    setText(text, words.steps[step].text);
    setText(attempt, words.steps[step].attempt);
    setText(done, memory.done[step] ? words.done : "");
    tick.classList.toggle("ticked", memory.done[step]);
    pickers.element.hidden = step < FIRST_WITH_HEADS || step === STEPS - 1;
    pickers.update();
    const { run } = app.reading;
    formula.hidden = run === null;
    if (run !== null) setText(formula, station.formula(run));
    body.classList.toggle("nothing", run === null && step > 1);
    if (run !== null || step <= 1) station.update();
  }
  return { element, update };
}
