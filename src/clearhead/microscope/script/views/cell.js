// One entry of the matrix in full: the products of q·k, then scaling, exponential and weight.

import { el, fill, setText } from "../element.js";
import { decimal, percent } from "../numbers.js";
import { isUnscaled } from "../state.js";
import { STRINGS } from "../strings.js";
import { createBars, largestSize } from "./bars.js";
import { chosenHead, rowOf, tokenName, vectorOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */

/** @param {App} app */
export function createCell(app) {
  const { headDim } = app.config;
  const words = STRINGS.cell;
  const note = el("p", { class: "small" });
  const bars = createBars(
    words.table,
    words.component,
    [words.query, words.key, words.product],
    ["q", "k", "p"],
    headDim,
  );
  const sums = el("dl", { class: "sums" });
  const holder = el("div", { class: "vectors-holder", tabindex: headDim > 16 ? 0 : null }, bars.element);
  const element = el("section", { class: "one-cell" }, el("h3", {}, words.heading), note, holder, sums);

  function update() {
    const { run } = app.result;
    element.classList.toggle("nothing", run === null);
    if (run === null) return;
    const facts = cellFacts(app, run);
    const { query, key, product } = facts;
    setText(note, words.note(tokenName(app, app.state.queryToken), tokenName(app, app.state.keyToken).toLowerCase()));
    const largest = largestSize(query, key);
    bars.update([query, key, product], [largest, largest, largestSize(product)]);
    fill(sums, ...sumLines(app, facts));
  }
  return { element, update };
}

/**
 * All numbers of the chosen entry.
 * @param {App} app
 * @param {import("../model.js").Run} run
 */
export function cellFacts(app, run) {
  const { queryToken, keyToken, temperature } = app.state;
  const head = chosenHead(app, run);
  const { headDim } = app.config;
  const query = vectorOf(head.query, queryToken, headDim);
  const key = vectorOf(head.key, keyToken, headDim);
  const masked = rowOf(app, head.masked, queryToken);
  return {
    query,
    key,
    product: query.map((component, i) => component * key[i]),
    score: rowOf(app, head.scores, queryToken)[keyToken],
    temperature,
    scaled: rowOf(app, head.scaled, queryToken)[keyToken],
    masked: masked[keyToken],
    power: Math.exp(masked[keyToken]),
    powers: masked.reduce((sum, value) => sum + Math.exp(value), 0),
    weight: rowOf(app, head.weights, queryToken)[keyToken],
  };
}

/**
 * @param {App} app
 * @param {ReturnType<typeof cellFacts>} facts
 */
function sumLines({ config, state }, facts) {
  const words = STRINGS.cell;
  const undivided = isUnscaled(state, config);
  const before = undivided ? facts.score : facts.scaled * facts.temperature;
  const divide = config.attentionScale === "sqrt" ? words.divide(config.headDim) : words.factor;
  const lines = [
    line(words.sum, decimal(facts.score), "score"),
    line(undivided ? words.undivided : divide, decimal(before), "divided"),
    facts.temperature === 1 || undivided ? null : line(`${words.temperature} (${decimal(facts.temperature)})`, decimal(facts.scaled), "scaled"),
    facts.masked === -Infinity ? line(words.masked, decimal(facts.masked), "masked") : null,
    line(`${words.power}${decimal(facts.masked)}`, decimal(facts.power), "power"),
    line(`${words.share} ${decimal(facts.powers, facts.powers < 100 ? 2 : 0)}`, percent(facts.weight), "weight"),
  ];
  return lines.flatMap((one) => one ?? []);
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} number
 */
function line(name, value, number) {
  return [el("dt", {}, name), el("dd", { "data-number": number }, value)];
}
