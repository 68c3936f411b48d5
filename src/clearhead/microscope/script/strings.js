// Every visible word of the page; a translation needs to change only this file.

import { decimal, exactPercent, finePercent, multiple, percent, points, scientific } from "./numbers.js";

/** "L3 H2": layer and head, counted from 1. @param {number} layer @param {number} head */
export function headLabel(layer, head) {
  return `${layerLabel(layer)} H${head + 1}`;
}

/** "L3". @param {number} layer */
export function layerLabel(layer) {
  return `L${layer + 1}`;
}

/** @param {string} query @param {string} key */
function pair(query, key) {
  return `Query ${query.toLowerCase()}, key ${key.toLowerCase()}`;
}

/** The badge of each experiment. */
const badges = {
  unscaled: "÷√d off",
  /** @param {number} temperature */
  temperature: (temperature) => `temperature ${decimal(temperature)}`,
  positions: "positions off",
  shuffled: "patches shuffled",
  /** @param {number} count */
  removed: (count) => (count === 1 ? "1 head removed" : `${count} heads removed`),
  /** @param {number} layer @param {string} mode */
  values: (layer, mode) => `values ${mode === "zero" ? "zero" : "reversed"} in ${layerLabel(layer)}`,
  /** @param {string[]} names @param {string} where */
  masked: (names, where) => `${names.length > 3 ? `${names.length} patches` : names.join(", ")} masked ${where}`,
  /** @param {number} count */
  noise: (count) => (count === 1 ? "noise on 1 patch" : `noise on ${count} patches`),
  uncentred: "not centred",
};

export const STRINGS = {
  title: "Clearhead microscope",
  tabs: {
    walk: "Walk",
    explore: "Explore",
    heads: "Heads",
    compare: "Compare",
    text: "Text",
    about: "About",
  },
  tabList: "Views",
  skip: "Skip to the view",
  tools: {
    label: "Page tools",
    theme: { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" },
    svg: "SVG",
    png: "PNG",
    csv: "CSV",
    exportLabel: "Save this view",
    link: "Copy link",
    copied: "Link copied. It holds the drawing and every setting.",
    notCopied: "The browser did not allow copying. The address bar holds the same link.",
    /** @param {string} name */
    saved: (name) => `Saved ${name}.`,
    nothing: "There is nothing to save yet.",
    nothingInStep: "This step has no picture to save. Steps 5 to 8 and the other tabs have one.",
    nothingInAbout: "This tab has no picture. Open another tab to save its view.",
  },
  badges,
  modified: {
    label: "Changed",
    end: "not the trained model",
    reset: "Reset",
    done: "Back to the trained model.",
  },
  failed:
    "Self-check failed: in this browser the page's numbers differ from PyTorch's. Do not rely on them.",
  draw: {
    heading: "Draw",
    second: "Second digit",
    canvas: "Drawing canvas",
    help:
      "Keyboard pen: arrow keys move it, with Shift four times as far; Space lowers or lifts it; Backspace removes a stroke; Escape leaves the canvas.",
    undo: "Undo",
    clear: "Clear",
    keys: "Keys",
    tap: "Tap",
    tapHelp: "Tap or click one point after another; lines join them. Press again to end the line.",
    centre: "Centre it for me",
    examples: "Examples",
    /** @param {string} label @param {boolean} other */
    example: (label, other) => (other ? `Example ${label}, second drawing` : `Example ${label}`),
    empty: "Draw a digit here",
    down: "Pen down",
    up: "Pen up",
    /** @param {number} column @param {number} row @param {boolean} down */
    place: (column, row, down) => `${down ? "Pen down" : "Pen up"}, column ${column}, row ${row} of 28`,
    left: "Left the canvas.",
    undone: "Stroke removed.",
    cleared: "Canvas cleared. Undo restores the drawing.",
    back: "Drawing restored.",
  },
  modelInput: {
    heading: "Model input",
    /** @param {number} high @param {number} wide */
    label: (high, wide) => `Model input: ${high} by ${wide} pixels`,
    /** @param {number} high @param {number} wide @param {string} ink */
    note: (high, wide, ink) => `${high} × ${wide} pixels, total ink ${ink}`,
  },
  prediction: {
    heading: "Prediction",
    empty: "Nothing to classify yet.",
    small: "Very small: draw larger.",
    /** @param {string} name @param {number} share */
    sure: (name, share) => `Predicted ${name}, ${percent(share)}`,
    /** @param {string} a @param {number} x @param {string} b @param {number} y */
    unsure: (a, x, b, y) => `Unsure: ${a} ${percent(x)}, or ${b} ${percent(y)}`,
    /** @param {string} name @param {number} share */
    rejected: (name, share) => `Not recognised; the closest is ${name}, ${percent(share)}.`,
    several: "Several digits? Draw one at a time.",
    label: "Probability of each class",
    className: "class",
    probability: "probability",
    logit: "logit",
  },
  lens: {
    heading: "Logit lens",
    note: "The prediction if the model ended after each layer. 0 is before the first.",
    layer: "after layer",
    prediction: "prediction",
    probability: "probability",
    table: "Logit lens: the classifier applied after every layer",
  },
  pick: {
    layer: "Layer",
    head: "Head",
    stage: "Stage",
    scale: "Scale",
    /** @param {number} layer */
    layerName: (layer) => `Layer ${layer + 1}`,
    /** @param {number} head */
    headName: (head) => `Head ${head + 1}`,
    stages: { scores: "Scores", scaled: "÷ √d", weights: "Softmax" },
    scales: { fixed: "Fixed", even: "× uniform weight", stretched: "Stretched" },
  },
  token: {
    /** @param {number | null} patch */
    name: (patch) => (patch === null ? "Class token" : `Patch ${patch + 1}`),
    /** @param {number | null} patch */
    inSentence: (patch) => (patch === null ? "the class token" : `patch ${patch + 1}`),
    /** @param {number | null} patch */
    short: (patch) => (patch === null ? "C" : String(patch + 1)),
    blank: "blank",
  },
  queryPicker: {
    heading: "Query token",
    note: "Choose the query patch. Colours show how much it attends to each patch.",
    plainHeading: "Patches",
    plainNote: "Choose a patch.",
    grid: "Patches of the digit: choose the query token",
    /** @param {string} name @param {string} state */
    cell: (name, state) => `${name}${state ? `, ${state}` : ""}`,
    chosen: "query token",
    classToken: "Class token as query",
  },
  matrix: {
    heading: { scores: "Scores  q·k", scaled: "Scaled  q·k ÷ √d", weights: "Weights  softmax" },
    note: {
      scores: "Rows: queries. Columns: keys. Blue is positive, orange negative.",
      scaled: "The scores divided by √d, on the same colour scale.",
      weights: "Rows: queries. Columns: keys. Each row sums to 100\u202f%.",
    },
    /** In place of the heading and note of "÷ √d" where it is off. */
    unscaled: { heading: "Not scaled  q·k", note: "÷ √d is off: equal to the scores." },
    corner: "query ↓ key →",
    /** @param {string} stage @param {number} layer @param {number} head */
    label: (stage, layer, head) => `${stage}, ${headLabel(layer, head)}`,
    /** @param {string} query @param {string} key @param {number} weight @param {number} times */
    weight: (query, key, weight, times) =>
      `${query} attends to ${key}: ${percent(weight).replace("\u202f%", " percent")}, ${times.toFixed(times < 0.095 ? 2 : 1)} times uniform weight`,
    /** @param {string} query @param {string} key @param {number} score */
    score: (query, key, score) => `${pair(query, key)}: ${decimal(score).replace("\u2212", "minus ")}`,
    /** @param {number} share */
    even: (share) => `uniform weight ${exactPercent(share)}`,
    /** @param {number} largest */
    stretched: (largest) => `Stretched: the brightest colour is ${percent(largest)}`,
    /** @param {number} domain */
    domain: (domain) => `This head: ${decimal(-domain, domain < 1 ? 1 : 0)} to ${decimal(domain, domain < 1 ? 1 : 0)}, the same before and after ÷ √d`,
    legend: "Colours",
  },
  cell: {
    heading: "One entry in full",
    /** @param {string} query @param {string} key */
    note: (query, key) => `${pair(query, key)}.`,
    table: "Query, key and their products",
    component: "i",
    query: "Q  qᵢ",
    key: "K  kᵢ",
    product: "qᵢ · kᵢ",
    sum: "Σ qᵢkᵢ",
    /** @param {number} dim */
    divide: (dim) => `÷ √${dim}`,
    undivided: "not divided",
    factor: "× scale",
    temperature: "÷ T",
    power: "e^",
    share: "÷ row sum",
    weight: "weight",
    masked: "masked",
  },
  sentence: {
    /** @param {string} query @param {string} key @param {number} weight @param {number} times */
    attends: (query, key, weight, times) =>
      `${query} attends most to ${key}: ${percent(weight)}, ${multiple(times)} the uniform weight`,
    /** @param {string} name @param {number} before @param {number} after */
    masking: (name, before, after) =>
      finePercent(before) === finePercent(after)
        ? `; masking it leaves P(${name}) at ${finePercent(after)}.`
        : `; masking it changes P(${name}) from ${finePercent(before)} to ${finePercent(after)}.`,
    waiting: "; computing the effect of masking it …",
  },
  table: { show: "Show table", hide: "Hide table" },
  nothing: "Draw a digit, or choose an example.",
  focus: {
    label: "Show",
    attended: "Attention of a token",
    importance: "Patch importance",
    experiments: "Experiments",
  },
  attended: {
    row: "Attends to",
    column: "Is attended to by",
    direction: "Direction",
    /** @param {string} name */
    rowNote: (name) => `Tokens that ${name} attends to, largest weight first.`,
    /** @param {string} name */
    columnNote: (name) => `Tokens that attend to ${name}, largest weight first.`,
    patch: "Patch",
    weight: "Weight",
    times: "× uniform",
    value: "‖w·v‖",
    change: "Masked",
    /** @param {string} where */
    changeNote: (where) =>
      `Masked: change of the predicted class's probability, in percentage points, when no query can attend to that token ${where}.`,
    matches: "Best-matching keys",
    /** @param {string} name @param {number} count */
    matchesNote: (name, count) => `Of ${count} example patches, those with the largest q·k for the query of ${name}. The bright patch of each digit is the match.`,
    /** @param {string} label @param {number} patch @param {number} score */
    match: (label, patch, score) => `Patch ${patch + 1} of a ${label}, q·k ${decimal(score)}`,
    waiting: "Computing the examples …",
  },
  importance: {
    heading: "Three measures of patch importance",
    note: "They disagree, and none of them is ground truth. Attention shows which tokens a head combines; masking measures what the prediction depends on.",
    last: "Last layer",
    lastNote: "Mean attention to each patch in the last layer.",
    rollout: "Rollout",
    rolloutNote: "Attention matrices of all layers multiplied, each averaged with the identity.",
    masking: "Masking",
    /** @param {number} share */
    even: (share) => `In per cent; the uniform weight is ${exactPercent(share)}.`,
    maskingNote: "Change of the predicted class's probability, in percentage points, when no query can attend to the patch.",
    maskingColours: "Small changes are pale: use the numbers.",
    /** @param {string} name @param {string} value */
    cell: (name, value) => `${name}: ${value}`,
    table: "Three measures for every patch",
    /** @param {number} domain */
    domain: (domain) => `−${domain} (orange) to +${domain} (blue) points`,
  },
  experiments: {
    heading: "Experiments",
    scaling: "Divide by √d",
    scalingNote: "Off is the same as temperature 1/√d: one control, so that changing T switches it on again. The model was trained with it on.",
    on: "on",
    off: "off",
    temperature: "Temperature T",
    temperatureNote: "Scores are also divided by T. Low T: nearly all weight on one key. High T: nearly uniform weights.",
    /** @param {number} value */
    marks: (value) => `marks: 1 (trained) and ${decimal(value)} (÷√d off)`,
    /** @param {number} row @param {number} trained */
    temperatureProof: (row, trained) =>
      `Largest weight of this row: ${percent(row)} (trained model ${percent(trained)}).`,
    heads: "Heads",
    headsNote: "A removed head contributes nothing to the output. The head shown is framed.",
    /** @param {number} layer @param {number} head @param {boolean} shown */
    remove: (layer, head, shown) =>
      `${headLabel(layer, head)}${shown ? ", shown now" : ""}`,
    positions: "Positions",
    positionsNote: "Without them, attention ignores the order of patches.",
    shuffle: "Shuffle patches",
    unshuffle: "Restore order",
    /** @param {number} difference */
    shuffleProof: (difference) => `Shuffled against original order: max Δ logit = ${scientific(difference)}`,
    shuffleHint: "Shuffle with positions on, then with positions off.",
    values: "Values of this layer",
    valuesModes: { trained: "unchanged", zero: "all zero", reversed: "reversed" },
    valuesNote: "The weights do not depend on the values.",
    /** @param {number} layer @param {number} weights @param {number} logits */
    valuesProof: (layer, weights, logits) =>
      `Weights of ${layerLabel(layer)}: max change ${scientific(weights)}. Logits: max change ${scientific(logits)}.`,
    noise: "Noise brush",
    noiseNote: "Choose patches (click or drag). Does attention move away from them?",
    noiseGrid: "Patches with noise",
    deviation: "Strength",
    /** @param {number} now @param {number} before */
    noiseProof: (now, before) =>
      `Attention on noisy patches, all layers: ${percent(now)}, before the noise ${percent(before)}.`,
    mask: "Mask patches",
    maskNote: "No query attends to a masked patch.",
    maskGrid: "Masked patches",
    where: "Where",
    scopeNames: { head: "this head", layer: "this layer", model: "every layer" },
    scopes: { head: "in this head", layer: "in this layer", model: "in every layer" },
    models: { trained: "Trained model", now: "Now" },
    /** @param {string} trained @param {number} before @param {string} now @param {number} after */
    predictionProof: (trained, before, now, after) =>
      `Trained model: ${trained} ${finePercent(before)}. Now: ${now} ${finePercent(after)}.`,
  },
  walk: {
    label: "Ten steps",
    back: "Back",
    next: "Next",
    /** @param {number} step */
    place: (step) => `Step ${step + 1} of 10`,
    tryThis: "Try this",
    done: "done",
    /** @param {number} step */
    stepDone: (step) => `Step ${step + 1}: done.`,
    undone: "The changes of this step were undone.",
    uncentred: "Centring is off: the drawing keeps its size and place. The training digits were scaled and centred, so the model may be less accurate on this one.",
    /** @param {number} share */
    lowered: (share) => `Lower the temperature until one weight of this row exceeds ${exactPercent(share)}; if none does, choose another query token.`,
    /** @param {number} share */
    raised: (share) => `Raise the temperature until no weight of this row exceeds ${exactPercent(share)}; if one does, choose another query token.`,
    /** @param {string} patch @param {number} layer */
    inLayer: (patch, layer) => `${patch}, ${layerLabel(layer)}`,
    /** @param {string} patch @param {number} layer @param {number} head */
    inHead: (patch, layer, head) => `${patch}, ${headLabel(layer, head)}`,
    pair,
    steps: [
      {
        name: "Digit",
        text: "The drawing is scaled so that its longer side is 20 pixels, and moved until its centre of mass is in the middle, as the training digits were.",
        task: "Draw your own digit, or choose another example.",
      },
      {
        name: "Patches",
        text: "The image is cut into patches that do not overlap. From here on the model processes a list of patches; hatched ones are blank.",
        task: "Choose a patch with ink in it.",
      },
      {
        name: "Tokens",
        text: "One matrix turns the pixels of each patch into a token. A position vector is added, because attention itself ignores order.",
        task: "Switch the positions off.",
      },
      {
        name: "Q K V",
        text: "Three matrices turn each token into three vectors. Query: what the token looks for. Key: what queries are compared with. Value: what the token contributes.",
        task: "Choose another head: it has its own queries, keys and values.",
      },
      {
        name: "Scores",
        text: "The score of a query and a key is their dot product: multiply component by component, and add the products. A large score is a good match.",
        task: "Choose another query token, and find the key with the largest score.",
      },
      {
        name: "÷ √d",
        text: "Longer vectors give larger scores. Dividing by √d keeps scores moderate at any length d, so that softmax does not saturate. Both matrices share one colour scale.",
        task: "Switch ÷√d off, then open the next step.",
      },
      {
        name: "Softmax",
        text: "Softmax turns each row of scores into weights that sum to 100 %: the attention weights. The uniform weight, 100 % divided by the number of keys, is marked for comparison.",
      },
      {
        name: "Weighted sum",
        text: "The values of all tokens are added, each multiplied by its attention weight. The sum is the context vector of the query token.",
        task: "Mask the patch with the largest weight.",
      },
      {
        name: "Join + MLP",
        text: "One matrix joins the contexts of all heads, and the result is added to the token. Then a small MLP processes each token separately. This happens in every layer.",
        task: "Remove this head.",
      },
      {
        name: "Output",
        text: "The tokens of the last layer are pooled to one vector, and one matrix computes a logit for each class. Softmax turns the logits into probabilities.",
        task: "In the logit lens, choose the first layer with the final prediction.",
      },
    ],
    formula: {
      /** @param {number} high @param {number} wide @param {string} ink @param {string} x @param {string} y */
      digit: (high, wide, ink, x, y) =>
        `${high} × ${wide} = ${high * wide} numbers; total ink ${ink}; centre of mass (${x}, ${y})`,
      /** @param {number} total @param {number} count @param {number} each */
      patches: (total, count, each) => `${total} = ${count} patches × ${each} pixels`,
      /** @param {number} pixels @param {number} dim @param {string} norm */
      tokens: (pixels, dim, norm) => `x = W p + b + position; ${pixels} → ${dim} numbers; ‖x‖ = ${norm}`,
      /** @param {string} q @param {string} k @param {string} v */
      qkv: (q, k, v) => `‖q‖ = ${q}, ‖k‖ = ${k}, ‖v‖ = ${v}`,
      /** @param {string} sum */
      scores: (sum) => `q · k = Σ qᵢkᵢ = ${sum}`,
      /** @param {string} score @param {string} factor @param {string} result */
      scaled: (score, factor, result) => `${score} ${factor} = ${result}`,
      /** @param {string} score */
      unscaled: (score) => `${score}, not divided: ÷ √d is off`,
      /** @param {string} scaled @param {string} power @param {string} sum @param {string} weight */
      softmax: (scaled, power, sum, weight) => `e^${scaled} ÷ Σ e^score = ${power} ÷ ${sum} = ${weight}`,
      /** @param {string} terms */
      context: (terms) => `context = ${terms} + …`,
      /** @param {string} x @param {string} attention @param {string} mlp */
      join: (x, attention, mlp) => `‖x‖ = ${x}; attention adds a vector of norm ${attention}, the MLP one of ${mlp}`,
      /** @param {string} logit @param {string} name @param {string} probability */
      prediction: (logit, name, probability) => `logit ${logit} → P(${name}) = ${probability}`,
    },
    caption: {
      /** @param {number} count @param {number} share */
      rest: (count, share) => `+ ${count} more patches, together ${percent(share)}`,
      pixels: "Pixels of the chosen patch, 0 (paper) to 1 (ink)",
      content: "Patch W p + b",
      position: "+ position",
      token: "= token x",
      query: "Q  query: what the token looks for",
      key: "K  key: what queries are compared with",
      value: "V  value: what the token contributes",
      context: "Context",
      /** @param {number} head */
      headContext: (head) => `Head ${head + 1}`,
      projected: "Joined by W_O",
      afterAttention: "Token + attention",
      mlpOutput: "+ MLP",
      output: "= next layer's token",
      terms: "Weight × value of each token",
      number: "number",
      component: "component",
      strips: "Vectors as colours: orange is negative, blue is positive",
    },
  },
  heads: {
    heading: "Every head of every layer",
    note: "All maps share the chosen scale. A head has a name only if the example drawings support it.",
    table: "Measures of every head",
    layer: "Layer",
    head: "Head",
    entropy: "Entropy (bits)",
    distance: "Mean distance",
    itself: "On itself",
    blank: "On blank",
    shared: "On one patch",
    change: "Removed",
    role: "Role",
    /** @param {number} layer @param {number} head */
    measures: (layer, head) => `${headLabel(layer, head)}: on this drawing, and the mean over the examples, which decides the name`,
    measure: "Measure",
    here: "Here",
    usual: "Mean",
    roles: {
      itself: "attends to itself",
      blank: "attends to blank patches",
      near: "attends nearby",
      shared: "all attend to one patch",
      even: "attends evenly",
      none: "no clear role",
    },
    /** @param {{itself: number, blankAbove: number, shared: number, near: number, even: number}} limits @param {number} count */
    thresholds: (limits, count) =>
      `Names come from the mean over ${count} example drawings: itself, at least ${percent(limits.itself)} on the query token itself; blank patches, ${decimal(limits.blankAbove * 100, 0)} points more than their share of the image; one patch, at least ${percent(limits.shared)} of all attention on the same one; nearby, at most ${decimal(limits.near, 0)} patch away; evenly, at least ${percent(limits.even)} of the largest entropy. Anything else: no clear role.`,
    changeNote: "Removed: change of the predicted class's probability, in percentage points, without this head.",
    look: "Open in Explore",
    remove: "Remove this head",
    putBack: "Restore this head",
    /** @param {number} layer @param {number} head */
    name: (layer, head) => headLabel(layer, head),
    removed: "removed",
  },
  compare: {
    heading: "Two digits, one head",
    note: "The same layer, head and query token in both. The difference is the second minus the first, in percentage points.",
    first: "First digit",
    second: "Second digit",
    difference: "Difference",
    /** @param {string} a @param {string} b @param {number} points */
    sentence: (a, b, points) => `First digit: ${a.toLowerCase()}. Second digit: ${b.toLowerCase()}. Their weights differ by at most ${decimal(points, 0)} points.`,
    /** @param {string} query @param {string} key @param {number} difference */
    cell: (query, key, difference) =>
      `${query} attends to ${key}: difference ${points(difference).replace("\u2212", "minus ")} points`,
    domain: "−100 to +100 points",
    swap: "Swap the two",
  },
  text: {
    heading: "Attention in a sentence",
    label: "Sentence",
    ending: "Last word",
    swap: "Swap the two nouns",
    words: "Words: choose the query token",
    head: "Head",
    mean: "Mean",
    meanLabel: "Mean of all heads",
    /** @param {string} name */
    queryToken: (name) => `“${name}” as query`,
    empty: "Write a sentence.",
    /** @param {number} count @param {number} max */
    long: (count, max) => `${count} words; this model accepts at most ${max}. Shorten the sentence.`,
    /** @param {readonly string[]} words */
    unknown: (words) => `Not in the vocabulary: ${words.join(", ")}. They are replaced by [unknown].`,
    /** @param {string} query @param {string} key @param {number} weight @param {number} times */
    sentence: (query, key, weight, times) =>
      `“${query}” attends most to “${key}”: ${percent(weight)}, ${multiple(times)} the uniform weight.`,
    /** @param {{word: string, probability: number}[]} predictions */
    predictions: (predictions) =>
      `“Which one?” The model predicts: ${predictions.map(({ word, probability }) => `${word} ${percent(probability)}`).join(", ")}.`,
    ended: "For this question, a full stop was added.",
    /** @param {string[]} absent */
    absent: (absent) => `A tiny model may predict words that are not in the sentence: ${absent.join(", ")}.`,
    questionReasons: {
      kind: "The question “Which one?” needs a sentence like “The dog chased the ball because it was hungry.”",
      unknown: "The question “Which one?” needs known words; one of these is not in the vocabulary.",
      causal: "The question “Which one?” needs a model that attends to later words, too.",
      long: "With the question “Which one?”, the sentence is too long for this model.",
    },
    /** @param {number} layer @param {string} head */
    caption: (layer, head) => `Attention of each word, ${layerLabel(layer)}, ${head}`,
    /** @param {string} query @param {string} key @param {number} weight @param {number} times */
    cell: (query, key, weight, times) =>
      `${query} attends to ${key}: ${percent(weight).replace("\u202f%", " percent")}, ${times.toFixed(times < 0.095 ? 2 : 1)} times uniform weight`,
    /** @param {string} query */
    table: (query) => `Words that “${query}” attends to`,
    keyToken: "Word",
    weight: "Weight",
    times: "× uniform",
    /** @param {string} count @param {number} words @param {number} layers */
    tiny: (count, words, layers) =>
      `This is a tiny model: ${count} weights, ${layers} layers, ${words} words, trained on sentences from a small grammar. It has no knowledge of the world, and the words it attends to need not decide its prediction.`,
  },
  about: {
    heading: "About this page",
    paragraphs: [
      "This page holds a whole Vision Transformer and runs it in your browser. It makes no network requests, and a drawing never leaves it.",
      "Attention weights show which tokens a head combines. They do not explain the prediction: compare them with masking, which changes the model and measures the effect.",
      "Colours: weights use cividis from 0 to 100 %, with a square-root scale so that small weights can be distinguished; signed numbers run from orange to blue. A badge shows when a scale is stretched.",
    ],
    check: "Self-check",
    checking: "Computing the example drawings …",
    /** @param {number} count @param {number} difference */
    passed: (count, difference) =>
      `Passed: on ${count} drawings the logits differ from PyTorch's (double precision, same rounded weights) by at most ${scientific(difference)}.`,
    /** @param {number} difference */
    notPassed: (difference) => `Failed: logits differ from PyTorch's by up to ${scientific(difference)}.`,
    model: "Model",
    facts: {
      name: "Name",
      image: "Image",
      tokens: "Tokens",
      layers: "Layers × heads",
      dims: "Dimensions (per head)",
      weights: "Weights",
      accuracy: "Accuracy",
      version: "Clearhead",
      time: "One forward pass here",
    },
    /** @param {string} count */
    weights: (count) => `${count}, rounded to half precision`,
    /** @param {number} correct @param {number} total @param {number} full */
    accuracy: (correct, total, full) =>
      `${decimal((correct / total) * 100)} % of ${total.toLocaleString("en-GB")} test digits with the rounded weights (${decimal((full / total) * 100)} % with the full ones)`,
    unknown: "not measured for this model",
    /** @param {number} time */
    time: (time) => `${decimal(time, 1)} ms`,
    sources: "Sources",
    references: [
      "Attention: Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762.",
      "Vision Transformer: Dosovitskiy et al. 2021, arXiv 2010.11929.",
      "Rollout: Abnar and Zuidema 2020, arXiv 2005.00928. Logit lens: nostalgebraist 2020.",
      "Colours: Nuñez, Anderton and Renslow 2018 (cividis).",
    ],
    keys: "Keys",
    keyList: [
      "Tab moves between controls; arrow keys move inside tabs, choices and matrices.",
      "Home and End go to the ends of a row, with Ctrl to the corners.",
      "On the canvas: arrows move the pen, with Shift four times as far; Space lowers or lifts it; Backspace removes a stroke; Escape leaves the canvas.",
    ],
  },
  export: {
    /** @param {string} view */
    title: (view) => `Clearhead microscope: ${view}`,
    prediction: "prediction",
    switches: "switches",
    trained: "none: the trained model",
    scale: "scale",
    matrices: "matrices",
    directions: "rows: query tokens, columns: key tokens; the chosen row is framed",
    component: "component",
    term: "term",
    row: "row of patches",
    column: "column of patches",
    who: "model",
    axes: ["row", "column"],
    queryToken: "query token",
    keyToken: "key token",
    value: "value",
  },
};
