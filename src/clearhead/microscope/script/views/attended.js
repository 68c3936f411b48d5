// The tokens that a token attends to, or that attend to it, with the effect of masking each.

import { el, fill, setText } from "../element.js";
import { bestMatches } from "../examples.js";
import { decimal, multiple, percent, points } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { createCanvas, drawModelInput, pen } from "./canvas.js";
import { createChoice } from "./choice.js";
import { predictedClass, chosenHead, norm, tokenName, vectorOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

const MATCHES = 8;
const words = STRINGS.attended;

/** @param {App} app */
export function createAttended(app) {
  const direction = createChoice({
    label: words.direction,
    visibleLabel: false,
    options: [
      { value: false, text: words.row },
      { value: true, text: words.column },
    ],
    choose: (attendedBy) => app.set({ attendedBy }),
  });
  const note = el("p", { class: "small" });
  const body = el("tbody", {});
  const caption = el("caption", { class: "hidden" });
  const columns = [words.patch, words.weight, words.times, words.value, words.change];
  const table = el(
    "table",
    { class: "numbers attended" },
    caption,
    el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
    body,
  );
  const changeNote = el("p", { class: "small" });
  const matches = createMatches(app);
  const holder = el("div", { class: "table-holder", tabindex: 0, role: "region", "aria-label": STRINGS.focus.attended }, table);
  const element = el(
    "section",
    { class: "attended-panel" },
    el("div", { class: "attended-table" }, direction.element, note, holder, changeNote),
    matches.element,
  );
  function update() {
    const { queryToken, attendedBy, scope } = app.state;
    direction.update(attendedBy);
    const name = tokenName(app, queryToken).toLowerCase();
    const title = attendedBy ? words.columnNote(name) : words.rowNote(name);
    setText(note, title);
    setText(caption, title);
    setText(changeNote, words.changeNote(STRINGS.experiments.scopes[scope]));
    if (!app.drawing) {
      fill(body, ...rowsOf(app).map((row) => rowElement(row)));
      matches.update();
    }
  }
  return { element, update };
}

/**
 * One row per token, largest weight first.
 * @param {App} app
 */
export function rowsOf(app) {
  const { run } = app.result;
  if (run === null) return [];
  const { tokens, headDim } = app.config;
  const { queryToken, attendedBy } = app.state;
  const { weights, value } = chosenHead(app, run);
  const predicted = predictedClass(run);
  return Array.from({ length: tokens }, (_, token) => {
    const weight = attendedBy ? weights[token * tokens + queryToken] : weights[queryToken * tokens + token];
    const size = norm(vectorOf(value, attendedBy ? queryToken : token, headDim));
    const after = app.influence?.masked[token];
    return {
      name: tokenName(app, token),
      weight,
      times: weight * tokens,
      value: weight * size,
      change: after ? after[predicted] - run.probabilities[predicted] : null,
    };
  }).sort((a, b) => b.weight - a.weight);
}

/** @param {ReturnType<typeof rowsOf>[number]} row */
function rowElement({ name, weight, times, value, change }) {
  const bar = el("span", { class: "share-bar" });
  bar.style.setProperty("--share", String(weight));
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, name),
    el("td", { class: "bar-cell", "data-number": "weight" }, bar, el("span", {}, percent(weight))),
    el("td", {}, multiple(times)),
    el("td", {}, decimal(value)),
    el("td", {}, change === null ? "…" : points(change)),
  );
}

/** @param {App} app */
function createMatches(app) {
  const note = el("p", { class: "small" });
  const list = el("ol", { class: "matches" });
  const element = el("section", { class: "match-panel" }, el("h4", {}, words.matches), note, list);
  let shown = "";
  function update() {
    const { run } = app.result;
    const { examples, state, config, model } = app;
    if (!examples.done || run === null) {
      setText(note, run === null ? STRINGS.nothing : words.waiting);
      fill(list);
      shown = "";
      return;
    }
    const { layer, head, queryToken } = state;
    const query = vectorOf(chosenHead(app, run).query, queryToken, config.headDim);
    const found = bestMatches(examples, model, layer, head, query, MATCHES);
    const key = found.map(({ label, patch, score }) => `${label}${patch}${score}`).join();
    setText(note, words.matchesNote(tokenName(app, queryToken).toLowerCase(), examples.results.length * config.patches));
    if (key === shown) return;
    shown = key;
    fill(list, ...found.map((match) => matchElement(app, match)));
  }
  return { element, update };
}

/**
 * @param {App} app
 * @param {ReturnType<typeof bestMatches>[number]} match
 */
function matchElement({ config }, { label, ink, patch, score }) {
  const [high, wide] = config.imageShape;
  const canvas = createCanvas(wide, high, "match");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words.match(label, patch, score));
  drawModelInput(canvas, ink);
  const context = pen(canvas);
  context.fillStyle = "rgba(20, 24, 31, 0.62)";
  const [rows, columns] = config.patchShape;
  const [top, left] = [Math.floor(patch / config.grid[1]) * rows, (patch % config.grid[1]) * columns];
  context.fillRect(0, 0, wide, top);
  context.fillRect(0, top + rows, wide, high);
  context.fillRect(0, top, left, rows);
  context.fillRect(left + columns, top, wide, rows);
  return el("li", {}, canvas, el("span", { class: "small" }, `${label} · ${decimal(score, 1)}`));
}
