// The left column: canvas, examples, model input.

import { el, setAttribute, setText } from "../element.js";
import { decimal } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { createCanvas, drawModelInput } from "./canvas.js";
import { createPad } from "./pad.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createDraw(app) {
  const pad = createPad(app, "strokes", STRINGS.draw.heading);
  const examples = createExamples(app, "strokes");
  const centre = el("input", { type: "checkbox", on: { change: () => app.set({ centred: centre.checked }) } });
  const element = el(
    "section",
    { class: "panel draw" },
    el("h2", {}, STRINGS.draw.heading),
    pad.element,
    examples.element,
    el("label", { class: "check" }, centre, STRINGS.draw.centre),
  );
  return {
    element,
    update: () => {
      pad.update();
      examples.update();
      centre.checked = app.state.centred;
    },
  };
}

/**
 * A button per digit; a second press chooses the second drawing.
 * @param {App} app
 * @param {"strokes" | "second"} which
 */
export function createExamples(app, which) {
  const labels = [...new Set(app.payload.examples.map(({ label }) => label))];
  const buttons = labels.map((label) => {
    const drawings = app.payload.examples.filter((example) => example.label === label);
    const next = () => {
      const now = drawings.findIndex(({ strokes }) => strokes === app.state[which]);
      const { strokes } = drawings[(now + 1) % drawings.length];
      app.set(which === "strokes" ? { strokes } : { second: strokes });
    };
    return el(
      "button",
      { type: "button", "aria-label": STRINGS.draw.example(label, false), on: { click: next } },
      label,
    );
  });
  const element = el("div", { class: "examples", role: "group", "aria-label": STRINGS.draw.examples }, ...buttons);
  const update = () => {
    const now = app.payload.examples.find(({ strokes }) => strokes === app.state[which])?.label;
    labels.forEach((label, i) => buttons[i].classList.toggle("now", label === now));
  };
  return { element, update };
}

/** @param {App} app */
export function createModelInput(app) {
  const { imageShape, grid } = app.config;
  const [high, wide] = imageShape;
  const canvas = createCanvas(wide, high, "input-pixels");
  canvas.setAttribute("role", "img");
  const lines = el("div", { class: "patch-lines", "aria-hidden": "true" });
  lines.style.setProperty("--rows", String(grid[0]));
  lines.style.setProperty("--columns", String(grid[1]));
  const note = el("p", { class: "small" });
  const element = el(
    "section",
    { class: "panel model-input" },
    el("h2", {}, STRINGS.modelInput.heading),
    el("div", { class: "input-frame" }, canvas, lines),
    note,
  );
  return {
    element,
    update: () => {
      const { ink } = app.result;
      drawModelInput(canvas, ink);
      const sum = decimal(ink.reduce((total, value) => total + value, 0), 1);
      setAttribute(canvas, "aria-label", STRINGS.modelInput.label(high, wide));
      setText(note, STRINGS.modelInput.note(high, wide, sum));
    },
  };
}
