// Every word that the page shows: translate this file, and the page is translated.

import { decimal, exactPercent, finePercent, multiple, percent, points, scientific } from "./numbers.js";

/** Layers are numbered, heads lettered. @param {number} head */
export function headName(head) {
  return String.fromCharCode(65 + head);
}

/** What an experiment's badge says, by the switch it belongs to. */
const badges = {
  unscaled: "÷√d off",
  /** @param {number} temperature */
  temperature: (temperature) => `temperature ${decimal(temperature)}`,
  positions: "positions off",
  shuffled: "patches shuffled",
  /** @param {number} count */
  removed: (count) => (count === 1 ? "1 head removed" : `${count} heads removed`),
  /** @param {number} layer @param {string} mode */
  values: (layer, mode) => `values ${mode === "zero" ? "zero" : "reversed"} in layer ${layer + 1}`,
  /** @param {string[]} names @param {string} where */
  silenced: (names, where) => `${names.length > 3 ? `${names.length} patches` : names.join(", ")} silenced ${where}`,
  /** @param {number} count */
  noise: (count) => (count === 1 ? "noise on 1 patch" : `noise on ${count} patches`),
  uncentred: "not centred: drawn where you drew it",
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
    nothing: "There is nothing to save here yet.",
    nothingInStep: "This step has no picture to save. Steps 5 to 8 have one, and the other tabs.",
    nothingInAbout: "This tab has no picture. Open another one to save what it shows.",
  },
  badges,
  modified: {
    label: "Changed",
    end: "not the trained model",
    reset: "Reset",
    done: "Back to the trained model.",
  },
  failed:
    "Self-check failed: this browser computes other numbers than PyTorch did. Do not trust this page here.",
  draw: {
    heading: "Draw",
    second: "Second digit",
    canvas: "Drawing canvas",
    help:
      "Keyboard pen: arrow keys move, with Shift four times as far; Space puts the pen down or lifts it; Backspace takes a stroke back; Escape leaves.",
    undo: "Undo",
    clear: "Clear",
    keys: "Keys",
    tap: "Tap",
    tapHelp: "Tap or click point after point; they are joined. Press again to end the line.",
    centre: "Centre it for me",
    examples: "Examples",
    /** @param {string} label @param {boolean} other */
    example: (label, other) => (other ? `Example ${label}, other hand` : `Example ${label}`),
    empty: "Draw a digit here",
    down: "Pen down",
    up: "Pen up",
    /** @param {number} column @param {number} row @param {boolean} down */
    place: (column, row, down) => `${down ? "Pen down" : "Pen up"}, column ${column}, row ${row} of 28`,
    left: "Left the canvas.",
    undone: "Stroke taken back.",
    cleared: "Canvas cleared. Undo brings the drawing back.",
    back: "The drawing is back.",
  },
  sees: {
    heading: "The model sees",
    /** @param {number} high @param {number} wide */
    label: (high, wide) => `What the model sees: ${high} by ${wide} pixels`,
    /** @param {number} high @param {number} wide @param {string} ink */
    note: (high, wide, ink) => `${high} × ${wide} pixels, ink ${ink}`,
  },
  answer: {
    heading: "Answer",
    empty: "Nothing to read yet.",
    small: "Very small: draw larger.",
    /** @param {string} name @param {number} share */
    sure: (name, share) => `Reads ${name}, ${percent(share)}`,
    /** @param {string} a @param {number} x @param {string} b @param {number} y */
    unsure: (a, x, b, y) => `Unsure: ${a} ${percent(x)}, or ${b} ${percent(y)}`,
    label: "Probability of each answer",
    answer: "answer",
    probability: "probability",
    logit: "logit",
    strip: "Answer",
  },
  lens: {
    heading: "Lens",
    note: "The answer if the model stopped after each layer. 0 is before the first.",
    layer: "after layer",
    answer: "answer",
    probability: "probability",
    table: "Lens: the head applied after every layer",
  },
  pick: {
    layer: "Layer",
    head: "Head",
    stage: "Stage",
    scale: "Scale",
    /** @param {number} layer */
    layerName: (layer) => `Layer ${layer + 1}`,
    /** @param {number} head */
    headName: (head) => `Head ${headName(head)}`,
    stages: { scores: "Scores", scaled: "÷ √d", weights: "Softmax" },
    scales: { fixed: "Fixed", even: "× even share", stretched: "Stretched" },
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
  asker: {
    heading: "Asker",
    note: "Pick the patch that asks. Each cell is coloured by how much it answers.",
    plainHeading: "Patches",
    plainNote: "Pick a patch.",
    grid: "Patches of the digit: choose who asks",
    /** @param {string} name @param {string} state */
    cell: (name, state) => `${name}${state ? `, ${state}` : ""}`,
    chosen: "asks",
    classToken: "Class token asks",
  },
  matrix: {
    heading: { scores: "Scores  q·k", scaled: "Scaled  q·k ÷ √d", weights: "Weights  softmax" },
    note: {
      scores: "Rows ask, columns answer. Blue matches, orange does not.",
      scaled: "The same numbers on the same colours: see them shrink.",
      weights: "Rows ask, columns answer. Each row sums to 100 %.",
    },
    /** In place of the heading and note of "÷ √d" where it is off. */
    unscaled: { heading: "Not scaled  q·k", note: "÷ √d is off: the same numbers as the scores." },
    corner: "asks ↓ answers →",
    /** @param {string} stage @param {number} layer @param {number} head */
    label: (stage, layer, head) => `${stage}, layer ${layer + 1}, head ${headName(head)}`,
    /** @param {string} asker @param {string} answerer @param {number} weight @param {number} times */
    weight: (asker, answerer, weight, times) =>
      `${asker} asks ${answerer}: ${percent(weight).replace("\u202f%", " percent")}, ${times.toFixed(times < 0.095 ? 2 : 1)} times even share`,
    /** @param {string} asker @param {string} answerer @param {number} score */
    score: (asker, answerer, score) => `${asker} asks ${answerer}: ${decimal(score).replace("\u2212", "minus ")}`,
    /** @param {number} share */
    even: (share) => `even share ${exactPercent(share)}`,
    /** @param {number} largest */
    stretched: (largest) => `Stretched: brightest is ${percent(largest)}`,
    /** @param {number} domain */
    domain: (domain) => `this head: ${decimal(-domain, domain < 1 ? 1 : 0)} to ${decimal(domain, domain < 1 ? 1 : 0)}, the same before and after ÷ √d`,
    legend: "Colours",
  },
  cell: {
    heading: "One cell, in full",
    /** @param {string} asker @param {string} answerer */
    note: (asker, answerer) => `${asker} asks ${answerer}.`,
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
    masked: "silenced",
  },
  sentence: {
    /** @param {string} asker @param {string} answerer @param {number} weight @param {number} times */
    answered: (asker, answerer, weight, times) =>
      `${asker} asked. ${answerer} answered most: ${percent(weight)}, ${multiple(times)} an even share`,
    /** @param {string} answer @param {number} before @param {number} after */
    silencing: (answer, before, after) =>
      finePercent(before) === finePercent(after)
        ? `; silencing it leaves ${answer} at ${finePercent(after)}.`
        : `; silencing it moves ${answer} from ${finePercent(before)} to ${finePercent(after)}.`,
    waiting: "; what silencing it does is being computed …",
  },
  table: { show: "Show table", hide: "Hide table" },
  nothing: "Draw a digit, or choose an example.",
  focus: {
    label: "Look at",
    answered: "Asked and answered",
    mattered: "What mattered",
    experiments: "Experiments",
  },
  answered: {
    row: "Whom it asked",
    column: "Who listened to it",
    direction: "Direction",
    /** @param {string} name */
    rowNote: (name) => `Whom ${name} asked, strongest first.`,
    /** @param {string} name */
    columnNote: (name) => `Who listened to ${name}, strongest first.`,
    patch: "Patch",
    weight: "Weight",
    times: "× even",
    value: "‖w·v‖",
    change: "Silenced",
    changeTitle: "Change of the answer's probability when silenced, in percentage points",
    /** @param {string} where */
    changeNote: (where) =>
      `Silenced: the change of the answer's probability, in points, when nobody can listen to that patch ${where}.`,
    matches: "This question matches best",
    /** @param {string} name @param {number} count */
    matchesNote: (name, count) => `Of ${count} example patches, those whose keys fit the query of ${name}. The brighter patch of each digit is the match.`,
    /** @param {string} label @param {number} patch @param {number} score */
    match: (label, patch, score) => `Patch ${patch + 1} of a ${label}, q·k ${decimal(score)}`,
    waiting: "Reading the examples …",
  },
  mattered: {
    heading: "Three answers to “what mattered”",
    note: "They disagree, and none of them is the truth. Attention says where the model looked; silencing says what the answer needed.",
    last: "Last layer",
    lastNote: "Mean attention on each patch in the last layer.",
    rollout: "Rollout",
    rolloutNote: "Attention multiplied through all layers, half of it kept by each patch.",
    silencing: "Silencing",
    /** @param {number} share */
    even: (share) => `In per cent; ${exactPercent(share)} would be an even share.`,
    silencingNote: "Change of the answer when nobody can listen to the patch, in points.",
    silencingColours: "Small changes hardly colour a cell: read its number.",
    /** @param {string} name @param {string} value */
    cell: (name, value) => `${name}: ${value}`,
    table: "Three measures for every patch",
    /** @param {number} domain */
    domain: (domain) => `−${domain} (orange) to +${domain} (blue) points`,
  },
  experiments: {
    heading: "Experiments",
    scaling: "Divide by √d",
    scalingNote: "Off is the same as temperature 1/√d: one control, so that moving T switches it on again. The model was trained with it on.",
    on: "on",
    off: "off",
    temperature: "Temperature T",
    temperatureNote: "Scores are divided by T too. Low: nearly one answer. High: an even spread.",
    /** @param {number} value */
    marks: (value) => `marks: 1 (trained) and ${decimal(value)} (÷√d off)`,
    /** @param {number} row @param {number} trained */
    temperatureProof: (row, trained) =>
      `Largest weight of this row: ${percent(row)} (trained model ${percent(trained)}).`,
    heads: "Heads",
    headsNote: "A removed head hands over nothing. The framed one is the head that is shown.",
    /** @param {number} layer @param {number} head @param {boolean} shown */
    remove: (layer, head, shown) =>
      `${layer + 1}${headName(head)}: layer ${layer + 1}, head ${headName(head)}${shown ? ", shown now" : ""}`,
    positions: "Positions",
    positionsNote: "Without them, attention knows no order.",
    shuffle: "Shuffle patches",
    unshuffle: "Put back",
    /** @param {number} difference */
    shuffleProof: (difference) => `Shuffled against in place: max Δ logit = ${scientific(difference)}`,
    shuffleHint: "Shuffle with positions on, then off.",
    values: "Values of this layer",
    valuesModes: { trained: "as they are", zero: "all zero", reversed: "reversed" },
    valuesNote: "Values take no part in the weights.",
    /** @param {number} layer @param {number} weights @param {number} logits */
    valuesProof: (layer, weights, logits) =>
      `Weights of layer ${layer + 1}: max change ${scientific(weights)}. Logits: max change ${scientific(logits)}.`,
    noise: "Noise brush",
    noiseNote: "Choose patches (click or drag); does attention leave them?",
    noiseGrid: "Patches with noise",
    deviation: "Strength",
    /** @param {number} now @param {number} before */
    noiseProof: (now, before) =>
      `Attention on noisy patches, all layers: ${percent(now)}, before the noise ${percent(before)}.`,
    silence: "Silence patches",
    silenceNote: "Nobody can listen to a silenced patch.",
    silenceGrid: "Silenced patches",
    where: "Where",
    scopeNames: { head: "this head", layer: "this layer", model: "every layer" },
    scopes: { head: "in this head", layer: "in this layer", model: "in every layer" },
    models: { trained: "Trained model", now: "Now" },
    /** @param {string} answer @param {number} before @param {string} now @param {number} after */
    answerProof: (answer, before, now, after) =>
      `Trained model: ${answer} ${finePercent(before)}. Now: ${now} ${finePercent(after)}.`,
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
    stepDone: (step) => `Step ${step + 1}, try this: done.`,
    undone: "Back as it was before this step.",
    uncentred: "Centring is off: the drawing is taken as large as you drew it, and where you drew it. The training digits were scaled and moved to the middle, so the model may read this one worse.",
    /** @param {number} share */
    lowered: (share) => `Lower the temperature until one weight of this row passes ${exactPercent(share)}; if none does, let another patch ask.`,
    /** @param {number} share */
    raised: (share) => `Raise the temperature until no weight of this row passes ${exactPercent(share)}; if one does, let another patch ask.`,
    /** @param {string} patch @param {number} layer */
    inLayer: (patch, layer) => `${patch}, layer ${layer + 1}`,
    /** @param {string} patch @param {number} layer @param {number} head */
    inHead: (patch, layer, head) => `${patch}, layer ${layer + 1}, head ${headName(head)}`,
    /** @param {string} asker @param {string} answerer */
    asks: (asker, answerer) => `${asker} asks ${answerer}`,
    steps: [
      {
        name: "Digit",
        text: "The drawing is scaled so that its long side is 20 pixels, and moved until its centre of mass is in the middle. That is how the training digits were made.",
        attempt: "Draw a digit of your own, or choose another example.",
      },
      {
        name: "Patches",
        text: "The image is cut into patches that do not overlap. From here on the model sees a list of patches; hatched ones are blank paper.",
        attempt: "Choose a patch with ink in it.",
      },
      {
        name: "Tokens",
        text: "One matrix turns the pixels of each patch into a token. A position vector is added, because attention itself knows no order.",
        attempt: "Switch the positions off.",
      },
      {
        name: "Q K V",
        text: "From its token every patch makes three vectors. Query: what I look for. Key: what I offer. Value: what I hand over. Keys are the same for every query.",
        attempt: "Choose another head: it asks another question.",
      },
      {
        name: "Scores",
        text: "Each query meets each key: multiply component by component, and add up. A large sum is a good match.",
        attempt: "Let another patch ask, and find its best match.",
      },
      {
        name: "÷ √d",
        text: "Longer vectors make larger sums. Dividing by √d keeps scores moderate whatever the length, so that softmax stays soft. Both matrices share one colour scale.",
        attempt: "Switch ÷√d off, and look at the next step.",
      },
      {
        name: "Softmax",
        text: "Softmax turns each row into shares that sum to 100 %. These are the attention weights. An even share is the yardstick.",
      },
      {
        name: "Weighted sum",
        text: "The asker takes from every value in proportion to its weight. The result is its context: what it has heard.",
        attempt: "Silence the patch that answered most.",
      },
      {
        name: "Join + MLP",
        text: "The contexts of all heads are joined by one matrix and added to the token. Then a small MLP works on each token alone. This happens in every layer.",
        attempt: "Remove this head.",
      },
      {
        name: "Answer",
        text: "The last tokens become one vector, and one matrix gives a number for each answer. Softmax makes probabilities of them.",
        attempt: "In the lens, choose the first layer with the final answer.",
      },
    ],
    formula: {
      /** @param {number} high @param {number} wide @param {string} ink @param {string} x @param {string} y */
      digit: (high, wide, ink, x, y) =>
        `${high} × ${wide} = ${high * wide} numbers · ink ${ink} · centre of mass (${x}, ${y})`,
      /** @param {number} total @param {number} count @param {number} each */
      patches: (total, count, each) => `${total} = ${count} patches × ${each} pixels`,
      /** @param {number} pixels @param {number} dim @param {string} norm */
      tokens: (pixels, dim, norm) => `x = W p + b + position · ${pixels} → ${dim} numbers · ‖x‖ = ${norm}`,
      /** @param {string} q @param {string} k @param {string} v */
      qkv: (q, k, v) => `‖q‖ = ${q} · ‖k‖ = ${k} · ‖v‖ = ${v}`,
      /** @param {string} sum */
      scores: (sum) => `q · k = Σ qᵢkᵢ = ${sum}`,
      /** @param {string} score @param {string} factor @param {string} result */
      scaled: (score, factor, result) => `${score} ${factor} = ${result}`,
      /** @param {string} score */
      unscaled: (score) => `${score}, not divided: ÷ √d is off`,
      /** @param {string} scaled @param {string} power @param {string} sum @param {string} weight */
      softmax: (scaled, power, sum, weight) => `e^${scaled} = ${power} · ${power} ÷ ${sum} = ${weight}`,
      /** @param {string} terms */
      context: (terms) => `context = ${terms} + …`,
      /** @param {string} x @param {string} attention @param {string} mlp */
      join: (x, attention, mlp) => `‖x‖ = ${x} · attention adds ${attention} · MLP adds ${mlp}`,
      /** @param {string} logit @param {string} answer @param {string} probability */
      answer: (logit, answer, probability) => `logit ${logit} → P(${answer}) = ${probability}`,
    },
    caption: {
      /** @param {number} count @param {number} share */
      rest: (count, share) => `+ ${count} more patches, together ${percent(share)}`,
      pixels: "Pixels of the chosen patch, 0 (paper) to 1 (ink)",
      content: "Patch W p + b",
      position: "+ position",
      token: "= token x",
      query: "Q  query, what I look for",
      key: "K  key, what I offer",
      value: "V  value, what I hand over",
      context: "Context",
      /** @param {number} head */
      headContext: (head) => `Head ${headName(head)}`,
      projected: "Joined by W_O",
      attended: "Token + attention",
      thought: "+ MLP",
      output: "= next layer's token",
      taken: "Taken from each patch",
      number: "number",
      component: "component",
      strips: "Vectors as colours: orange is negative, blue is positive",
    },
  },
  heads: {
    heading: "Every head of every layer",
    note: "All maps on the chosen scale. A head has a name only if the example drawings support it.",
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
    measures: (layer, head) => `Layer ${layer + 1}, head ${headName(head)}, on this drawing, and the mean on the examples, from which the name comes`,
    measure: "Measure",
    here: "Here",
    usual: "Mean",
    roles: {
      itself: "looks at itself",
      blank: "looks at blank paper",
      near: "looks nearby",
      shared: "all ask one patch",
      even: "spreads evenly",
      none: "no clear role",
    },
    /** @param {{itself: number, blankAbove: number, shared: number, near: number, even: number}} limits @param {number} count */
    thresholds: (limits, count) =>
      `Names come from the mean over ${count} example drawings: itself, at least ${percent(limits.itself)} on the asker; blank paper, ${decimal(limits.blankAbove * 100, 0)} points more than its share of the image; one patch, at least ${percent(limits.shared)} of all attention on the same one; nearby, at most ${decimal(limits.near, 0)} patch away; evenly, at least ${percent(limits.even)} of the largest entropy. Anything else: no clear role.`,
    changeNote: "Removed: change of the answer's probability in points when this head hands over nothing.",
    look: "Look closer",
    remove: "Remove this head",
    putBack: "Put it back",
    /** @param {number} layer @param {number} head */
    name: (layer, head) => `Layer ${layer + 1}, head ${headName(head)}`,
    removed: "removed",
  },
  compare: {
    heading: "Two digits, one head",
    note: "The same layer, head and asker in both. The difference is the second minus the first, in percentage points.",
    first: "First digit",
    second: "Second digit",
    difference: "Difference",
    /** @param {string} a @param {string} b @param {number} points */
    sentence: (a, b, points) => `First: ${a}. Second: ${b}. Their weights differ by at most ${decimal(points, 0)} points.`,
    /** @param {string} asker @param {string} answerer @param {number} difference */
    cell: (asker, answerer, difference) =>
      `${asker} asks ${answerer}: difference ${points(difference).replace("\u2212", "minus ")} points`,
    domain: "−100 to +100 points",
    swap: "Swap the two",
  },
  text: {
    heading: "A sentence through the same attention",
    label: "Sentence",
    ending: "Last word",
    swap: "Swap the two things",
    words: "Words: choose who asks",
    head: "Head",
    mean: "Mean",
    meanLabel: "Mean of all heads",
    /** @param {string} name */
    asker: (name) => `“${name}” asks`,
    empty: "Write a sentence.",
    /** @param {number} found @param {number} most */
    long: (found, most) => `${found} words; this model reads at most ${most}. Shorten the sentence.`,
    /** @param {readonly string[]} words */
    unknown: (words) => `It has never met: ${words.join(", ")}. It reads [unknown] there.`,
    /** @param {string} asker @param {string} answerer @param {number} weight @param {number} times */
    sentence: (asker, answerer, weight, times) =>
      `“${asker}” asked. “${answerer}” answered most: ${percent(weight)}, ${multiple(times)} an even share.`,
    /** @param {{word: string, probability: number}[]} answers */
    answers: (answers) =>
      `Asked “which one?”, the model says: ${answers.map(({ word, probability }) => `${word} ${percent(probability)}`).join(", ")}.`,
    ended: "For the question it was read as if it ended with a full stop.",
    /** @param {string[]} absent */
    absent: (absent) => `A tiny model may name what is not in the sentence: ${absent.join(", ")}.`,
    notAsked: {
      kind: "“Which one?” is asked only of sentences like “The dog chased the ball because it was hungry.”",
      unknown: "“Which one?” is not asked: the sentence has a word that the model has never met.",
      causal: "“Which one?” is not asked: this model does not look ahead.",
      long: "“Which one?” is not asked: with the question, the sentence would be too long for this model.",
    },
    /** @param {number} layer @param {string} head */
    caption: (layer, head) => `Attention of each word, layer ${layer + 1}, ${head}`,
    /** @param {string} asker @param {string} answerer @param {number} weight @param {number} times */
    cell: (asker, answerer, weight, times) =>
      `${asker} asks ${answerer}: ${percent(weight).replace("\u202f%", " percent")}, ${times.toFixed(times < 0.095 ? 2 : 1)} times even share`,
    /** @param {string} asker */
    table: (asker) => `Whom “${asker}” asks`,
    answerer: "Word",
    weight: "Weight",
    times: "× even",
    /** @param {string} count @param {number} words @param {number} layers */
    tiny: (count, words, layers) =>
      `This is a tiny model: ${count} weights, ${layers} layers, ${words} words, taught by sentences that a small grammar made. It knows nothing of the world, and where its attention goes need not be what decides its answer.`,
  },
  about: {
    heading: "About this page",
    paragraphs: [
      "This page holds a whole Vision Transformer and runs it in your browser. It asks the network for nothing; a drawing never leaves it.",
      "Attention weights say where a head looked. They are not an explanation of the answer: compare them with silencing, which changes the model and measures what happens.",
      "Colours: shares on cividis, 0 to 100 %, with a square-root ramp so that small shares can be told apart; signed numbers from orange to blue. Nothing is stretched unless a badge says so.",
    ],
    check: "Self-check",
    checking: "Reading the example drawings …",
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
      dims: "Dimensions (a head)",
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
      "Rollout: Abnar and Zuidema 2020, arXiv 2005.00928. Lens: nostalgebraist 2020.",
      "Colours: Nuñez, Anderton and Renslow 2018 (cividis).",
    ],
    keys: "Keys",
    keyList: [
      "Tab moves between controls; arrow keys move inside tabs, choices and matrices.",
      "Home and End go to the ends of a row, with Ctrl to the corners.",
      "On the canvas: arrows move the pen, Shift four times as far, Space down or up, Backspace undo, Escape leaves.",
    ],
  },
  export: {
    /** @param {string} view */
    title: (view) => `Clearhead microscope: ${view}`,
    reads: "answer",
    switches: "switches",
    trained: "none: the trained model",
    scale: "scale",
    matrices: "matrices",
    directions: "rows ask, columns answer; the asker's row is framed",
    component: "component",
    term: "term",
    row: "row of patches",
    column: "column of patches",
    who: "model",
    axes: ["row", "column"],
    asker: "asks",
    answerer: "answers",
    value: "value",
  },
};
