// Asked and answered: whom a patch asked, who listened to it, and whether that mattered.

import { el, fill, setText } from "../element.js";
import { bestMatches } from "../examples.js";
import { decimal, multiple, percent, points } from "../numbers.js";
import { STRINGS } from "../strings.js";
import { createCanvas, drawSeen, pen } from "./canvas.js";
import { createChoice } from "./choice.js";
import { answerOf, chosenHead, norm, tokenName, vectorOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

const MATCHES = 8;
const words = STRINGS.answered;

/** @param {App} app */
export function createAnswered(app) {
  const direction = createChoice({
    label: words.direction,
    visibleLabel: false,
    options: [
      { value: false, text: words.row },
      { value: true, text: words.column },
    ],
    choose: (listeners) => app.set({ listeners }),
  });
  const note = el("p", { class: "small" });
  const body = el("tbody", {});
  const caption = el("caption", { class: "hidden" });
  const columns = [words.patch, words.weight, words.times, words.value, words.change];
  const table = el(
    "table",
    { class: "numbers answered" },
    caption,
    el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
    body,
  );
  const changeNote = el("p", { class: "small" });
  const matches = createMatches(app);
  const holder = el("div", { class: "table-holder", tabindex: 0, role: "region", "aria-label": STRINGS.focus.answered }, table);
  const element = el(
    "section",
    { class: "asked" },
    el("div", { class: "asked-table" }, direction.element, note, holder, changeNote),
    matches.element,
  );
  function update() {
    const { asker, listeners, scope } = app.state;
    direction.update(listeners);
    const name = tokenName(app, asker).toLowerCase();
    const title = listeners ? words.columnNote(name) : words.rowNote(name);
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
 * One row for each partner of the chosen token, strongest first.
 * @param {App} app
 */
export function rowsOf(app) {
  const { run } = app.reading;
  if (run === null) return [];
  const { tokens, headDim } = app.config;
  const { asker, listeners } = app.state;
  const { weights, value } = chosenHead(app, run);
  const answer = answerOf(run);
  return Array.from({ length: tokens }, (_, token) => {
    const weight = listeners ? weights[token * tokens + asker] : weights[asker * tokens + token];
    const handed = norm(vectorOf(value, listeners ? asker : token, headDim));
    const after = app.influence?.silenced[token];
    return {
      name: tokenName(app, token),
      weight,
      times: weight * tokens,
      value: weight * handed,
      change: after ? after[answer] - run.probabilities[answer] : null,
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
    const { run } = app.reading;
    const { examples, state, config, model } = app;
    if (!examples.done || run === null) {
      setText(note, run === null ? STRINGS.nothing : words.waiting);
      fill(list);
      shown = "";
      return;
    }
    const { layer, head, asker } = state;
    const query = vectorOf(chosenHead(app, run).query, asker, config.headDim);
    const found = bestMatches(examples, model, layer, head, query, MATCHES);
    const key = found.map(({ label, patch, score }) => `${label}${patch}${score}`).join();
    setText(note, words.matchesNote(tokenName(app, asker).toLowerCase(), examples.read.length * config.patches));
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
  drawSeen(canvas, ink);
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
