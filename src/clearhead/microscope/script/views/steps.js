// The content of each step of the walk, and its formula with live numbers.

import { trainedScale } from "../config.js";
import { el } from "../element.js";
import { decimal, percent } from "../numbers.js";
import { isUnscaled } from "../state.js";
import { STRINGS } from "../strings.js";
import { createQueryPicker } from "./querypicker.js";
import { createLens } from "./prediction.js";
import { createBars, largestSize } from "./bars.js";
import { cellFacts, createCell } from "./cell.js";
import { createHeads, createPositions, createScaling, createMask, createTemperature } from "./experiments.js";
import { createMatrix } from "./matrix.js";
import { createPatchNumbers } from "./patchnumbers.js";
import { createPixels } from "./pixelview.js";
import { createStrips } from "./strips.js";
import { createWeightedSum } from "./weightedsum.js";
import { predictedClass, chosenHead, norm, rowOf, tokenName, tokenShort, vectorOf } from "./tokens.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../model.js").Run} Run */
/**
 * @typedef {Object} StepContent
 * @property {HTMLElement} element
 * @property {() => void} update
 * @property {(run: Run) => string} formula
 * @property {() => string} [place] the patch, layer and head of the formula's numbers
 */

const { caption, formula, inHead, inLayer, pair } = STRINGS.walk;

/** @param {App} app @returns {StepContent[]} */
export function createSteps(app) {
  return [
    station([createPixels(app)], () => digitFormula(app)),
    station([createQueryPicker(app, true), createPatchNumbers(app)], () => {
      const { imageShape, patchShape, patches } = app.config;
      return formula.patches(imageShape[0] * imageShape[1], patches, patchShape[0] * patchShape[1]);
    }),
    station(
      [createQueryPicker(app, true), tokenStrips(app), createPositions(app)],
      (run) => {
        const { imageShape, patches, embedDim } = app.config;
        const x = vectorOf(run.layers[0].input, app.state.queryToken, embedDim);
        const pixels = (imageShape[0] * imageShape[1]) / patches;
        return formula.tokens(pixels, embedDim, decimal(norm(x)));
      },
      () => tokenName(app, app.state.queryToken),
    ),
    station(
      [createQueryPicker(app, true), queryKeyValue(app)],
      (run) => {
        const [q, k, v] = vectorsOf(app, run).map((vector) => decimal(norm(vector)));
        return formula.qkv(q, k, v);
      },
      () => queryInHead(app),
    ),
    station(
      [createQueryPicker(app), createMatrix(app, () => "scores"), createCell(app)],
      (run) => formula.scores(decimal(cellFacts(app, run).score)),
      () => pairInHead(app),
    ),
    station([createScalingPair(app)], (run) => scaledFormula(app, run), () => pairInHead(app)),
    station(
      [createQueryPicker(app), createMatrix(app, () => "weights"), createTemperature(app)],
      (run) => {
        const { masked, power, powers, weight } = cellFacts(app, run);
        return formula.softmax(decimal(masked), decimal(power), decimal(powers), percent(weight));
      },
      () => pairInHead(app),
    ),
    station(
      [createQueryPicker(app), createWeightedSum(app), createMask(app)],
      (run) => contextFormula(app, run),
      () => queryInHead(app),
    ),
    station(
      [createQueryPicker(app, true), joinStrips(app), createHeads(app)],
      (run) => joinFormula(app, run),
      () => inLayer(tokenName(app, app.state.queryToken), app.state.layer),
    ),
    station([createLens(app), createLogits(app)], (run) => {
      const predicted = predictedClass(run);
      const { classNames } = app.config;
      return formula.prediction(decimal(run.logits[predicted]), classNames[predicted], percent(run.probabilities[predicted]));
    }),
  ];
}

/** @param {App} app */
function queryInHead(app) {
  const { queryToken, layer, head } = app.state;
  return inHead(tokenName(app, queryToken), layer, head);
}

/** @param {App} app */
function pairInHead(app) {
  const { queryToken, keyToken, layer, head } = app.state;
  return inHead(pair(tokenName(app, queryToken), tokenName(app, keyToken).toLowerCase()), layer, head);
}

/**
 * @param {{element: HTMLElement, update: () => void}[]} parts
 * @param {(run: Run) => string} formulaOf
 * @param {() => string} [place]
 * @returns {StepContent}
 */
function station(parts, formulaOf, place) {
  return {
    element: el("div", { class: `step-parts parts-${parts.length}` }, ...parts.map((part) => part.element)),
    update: () => {
      for (const part of parts) part.update();
    },
    formula: formulaOf,
    place,
  };
}

/** The matrices before and after scaling on one colour scale, and the switch. @param {App} app */
function createScalingPair(app) {
  const before = createMatrix(app, () => "scores");
  const after = createMatrix(app, () => "scaled");
  const scaling = createScaling(app);
  const has = app.config.attentionScale === "sqrt";
  return {
    element: el("div", { class: "pair" }, before.element, after.element, has && scaling.element),
    update: () => {
      before.update();
      after.update();
      scaling.update();
    },
  };
}

/** @param {App} app @param {Run} run */
function scaledFormula(app, run) {
  const { score, scaled } = cellFacts(app, run);
  if (isUnscaled(app.state, app.config)) return formula.unscaled(decimal(score));
  return formula.scaled(decimal(score), factorWords(app), decimal(scaled));
}

/** The factor on the scores, in words. @param {App} app */
function factorWords({ config, state }) {
  const { divide, temperature } = STRINGS.cell;
  const first =
    config.attentionScale === "sqrt"
      ? divide(config.headDim)
      : `× ${decimal(trainedScale(config), 3)}`;
  return state.temperature === 1 ? first : `${first} ${temperature} ${decimal(state.temperature)}`;
}

/** @param {App} app */
function tokenStrips(app) {
  const { embedDim, numPrefixTokens } = app.config;
  return createStrips(app, (run) => {
    const { queryToken } = app.state;
    const token = vectorOf(run.layers[0].input, queryToken, embedDim);
    const content =
      queryToken < numPrefixTokens
        ? (app.model.classToken ?? token)
        : vectorOf(run.patchTokens, queryToken - numPrefixTokens, embedDim);
    const position = token.map((value, i) => value - content[i]);
    return [
      { name: caption.content, values: content },
      { name: caption.position, values: position },
      { name: caption.token, values: token },
    ];
  });
}

/** @param {App} app */
function joinStrips(app) {
  const { embedDim } = app.config;
  return createStrips(app, (run) => {
    const { queryToken, layer } = app.state;
    const { heads, projected, afterAttention, mlpOutput, output } = run.layers[layer];
    return [
      ...heads.map(({ context }, head) => ({
        name: caption.headContext(head),
        values: vectorOf(context, queryToken, app.config.headDim),
      })),
      ...[
        { name: caption.projected, values: projected },
        { name: caption.afterAttention, values: afterAttention },
        { name: caption.mlpOutput, values: mlpOutput },
        { name: caption.output, values: output },
      ].map(({ name, values }) => ({ name, values: vectorOf(values, queryToken, embedDim) })),
    ];
  });
}

/** @param {App} app */
function queryKeyValue(app) {
  const bars = createBars(
    STRINGS.walk.steps[3].name,
    caption.component,
    [caption.query, caption.key, caption.value],
    ["q", "k", "v"],
    app.config.headDim,
  );
  return {
    element: el("section", { class: "one-cell wide" }, el("div", { class: "vectors-holder" }, bars.element)),
    update: () => {
      const { run } = app.result;
      if (run === null) return;
      const vectors = vectorsOf(app, run);
      const largest = largestSize(...vectors);
      bars.update(vectors, [largest, largest, largest]);
    },
  };
}

/** Query, key and value vector of the query token. @param {App} app @param {Run} run */
function vectorsOf(app, run) {
  const { query, key, value } = chosenHead(app, run);
  return [query, key, value].map((all) => vectorOf(all, app.state.queryToken, app.config.headDim));
}

/** @param {App} app */
function createLogits(app) {
  const bars = createBars(
    STRINGS.prediction.label,
    STRINGS.prediction.className,
    [STRINGS.prediction.logit],
    ["p"],
    app.config.numClasses,
  );
  bars.element.querySelectorAll("tbody th").forEach((head, i) => {
    head.textContent = app.config.classNames[i];
  });
  return {
    element: el("section", { class: "one-cell" }, bars.element),
    update: () => {
      const { run } = app.result;
      if (run !== null) bars.update([run.logits], [largestSize(run.logits)]);
    },
  };
}

/** @param {App} app */
function digitFormula(app) {
  const { imageShape } = app.config;
  const { ink } = app.result;
  const sum = ink.reduce((total, value) => total + value, 0);
  /** @param {(i: number) => number} place */
  const middle = (place) => ink.reduce((total, value, i) => total + value * place(i), 0) / (sum || 1);
  const x = middle((i) => i % imageShape[1]);
  const y = middle((i) => Math.floor(i / imageShape[1]));
  return formula.digit(...imageShape, decimal(sum, 1), decimal(x, 1), decimal(y, 1));
}

/** The three largest terms of the weighted sum. @param {App} app @param {Run} run */
function contextFormula(app, run) {
  const weights = Array.from(rowOf(app, chosenHead(app, run).weights, app.state.queryToken));
  const largest = weights
    .map((weight, token) => ({ weight, token }))
    .sort((a, b) => b.weight - a.weight)
    .slice(0, 3);
  return formula.context(
    largest.map(({ weight, token }) => `${decimal(weight)} · v(${tokenShort(app, token)})`).join(" + "),
  );
}

/** @param {App} app @param {Run} run */
function joinFormula(app, run) {
  const { layer, queryToken } = app.state;
  const { input, projected, mlpOutput } = run.layers[layer];
  const [x, attention, mlp] = [input, projected, mlpOutput].map((values) =>
    decimal(norm(vectorOf(values, queryToken, app.config.embedDim))),
  );
  return formula.join(x, attention, mlp);
}
