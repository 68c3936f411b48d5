// The walk: ten steps from digit to prediction, each with a text, a formula and a task.

import { el, fill, setAttribute, setText } from "../element.js";
import { STEPS } from "../state.js";
import { STRINGS } from "../strings.js";
import { tasks, taskWords } from "./tasks.js";
import { moveBetween } from "./roving.js";
import { intoView } from "./scroll.js";
import { createSteps } from "./steps.js";
import { createLayerAndHead } from "./pickers.js";
import { changedElsewhere, isCarried, undoneChanges } from "./undo.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../state.js").State} State */

const words = STRINGS.walk;
const FIRST_WITH_HEADS = 3; // earlier steps have no layer and head

/** @param {App} app */
export function createWalk(app) {
  const steps = words.steps.map(({ name }, i) =>
    el("button", { type: "button", class: "step", on: { click: () => goByClick(i) } }, el("span", { class: "step-number" }, String(i + 1)), ` ${name}`),
  );
  const list = el("nav", { class: "steps", "aria-label": words.label }, ...steps);
  moveBetween(list, steps, goTo);
  const back = el("button", { type: "button", on: { click: () => goByClick(app.state.step - 1) } }, `◀ ${words.back}`);
  const next = el("button", { type: "button", class: "primary", on: { click: () => goByClick(app.state.step + 1) } }, `${words.next} ▶`);
  const heading = el("h3", { tabindex: -1 });
  const text = el("p", { class: "lead" });
  const place = el("span", { class: "of-what" });
  const numbers = el("span", {});
  const formula = el("p", { class: "formula" }, place, " ", numbers);
  const tick = el("span", { class: "tick-box", "aria-hidden": "true" });
  const task = el("span", {});
  const done = el("span", { class: "done-word" }, words.done);
  const pickers = createLayerAndHead(app);
  const stations = createSteps(app);
  const body = el("div", { class: "step-body" });
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
      el("p", { class: "task" }, tick, el("b", {}, `${words.tryThis}: `), task, " ", done),
      body,
    ),
  );
  /**
   * `start` is the state when the step was opened, `before` the state to restore.
   * @type {{step: number, start: State, before: State, last: State, resets: number, away: boolean, done: boolean[]}}
   */
  const memory = { step: -1, start: app.state, before: app.state, last: app.state, resets: 0, away: false, done: new Array(STEPS).fill(false) };

  /** @param {number} to */
  function goTo(to) {
    if (to < 0 || to >= STEPS || to === app.state.step) return;
    const undone = undoneChanges(app.state, memory.before, to);
    app.set({ ...undone, step: to });
    if (Object.keys(undone).length) app.announce(words.undone);
  }

  /** @param {number} to */
  function goByClick(to) {
    goTo(to);
    intoView(element);
  }

  /** Updates the memory when a step is opened or the state comes from elsewhere. */
  function remember() {
    const { state, resets } = app;
    const fresh = resets !== memory.resets; // a link or Reset leaves nothing to undo
    if (memory.away && !fresh) {
      const elsewhere = changedElsewhere(state, memory.last);
      memory.start = { ...memory.start, ...elsewhere };
      memory.before = { ...memory.before, ...elsewhere };
    }
    if (fresh || memory.step !== state.step) {
      if (!fresh) tickOff(memory.step);
      if (fresh || !isCarried(memory.step, state.step)) memory.before = state;
      if (memory.step !== state.step) fill(body, stations[state.step].element);
      Object.assign(memory, { step: state.step, start: state, resets });
      app.actions = {};
    }
    Object.assign(memory, { last: state, away: false });
  }

  /** @param {number} step */
  function tickOff(step) {
    if (memory.done[step] || !tasks[step]?.(app, memory.start)) return;
    memory.done[step] = true;
    app.announce(words.stepDone(step));
  }

  function update() {
    remember();
    const { step } = app.state;
    const station = stations[step];
    tickOff(step);
    steps.forEach((button, i) => {
      setAttribute(button, "aria-current", i === step ? "step" : null);
      setAttribute(button, "tabindex", i === step ? 0 : -1);
      button.classList.toggle("done", memory.done[i]);
    });
    setAttribute(back, "aria-disabled", step === 0);
    setAttribute(next, "aria-disabled", step === STEPS - 1);
    setText(heading, `${step + 1}  ${words.steps[step].name}`);
    setText(text, step === 0 && !app.state.centred ? words.uncentred : words.steps[step].text);
    setText(task, taskWords(app, memory.start));
    setAttribute(done, "data-off", memory.done[step] ? null : "");
    setAttribute(done, "aria-hidden", memory.done[step] ? null : true);
    tick.classList.toggle("ticked", memory.done[step]);
    pickers.element.hidden = step < FIRST_WITH_HEADS || step === STEPS - 1;
    pickers.update();
    const { run } = app.result;
    formula.hidden = run === null;
    setText(place, station.place ? `${station.place()}:` : "");
    if (run !== null) setText(numbers, station.formula(run));
    body.classList.toggle("nothing", run === null && step > 1);
    if (run !== null || step <= 1) station.update();
  }
  /** The walk is shown again; changes made in other tabs are not the step's. */
  const opened = () => {
    memory.away = true;
  };
  return { element, update, opened };
}
