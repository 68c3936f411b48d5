// What is selected, and everything that is drawn from it.

const state = {
  layer: facts.layers[facts.start.layer],
  head: facts.start.head,
  window: 0,
  query: facts.start.query,
  key: null,
  scale: "fixed",
};

const element = (id) => document.getElementById(id);

function chosenHead(layer) {
  const head = headName(layer, state.head);
  return layer.windows > 1 ? `${head}, window ${windowIn(layer) + 1} of ${layer.windows}` : head;
}

/** The place of the selected query among those kept of a layer, or of the nearest one. */
function placeIn(layer) {
  const distances = layer.queries.map((query) => Math.abs(query - state.query));
  return distances.indexOf(Math.min(...distances));
}

const chosenQuery = () => state.layer.queries[placeIn(state.layer)];
const windowIn = (layer) => Math.min(state.window, layer.windows - 1);
const chosenWeights = () =>
  weightsOf(state.layer, windowIn(state.layer), state.head, placeIn(state.layer));
const chosenMatrix = () =>
  state.layer.queries.map((_, place) =>
    weightsOf(state.layer, windowIn(state.layer), state.head, place),
  );

function pickQuery(query) {
  state.query = query;
  state.query = chosenQuery();
  state.key = null;
  render();
}

function pickHead(layer, head) {
  Object.assign(state, { layer, head, key: null });
  state.window = windowIn(layer);
  render();
}

/** "In L3 H2, patch 7 (row 2, column 3) attends most to …", with the numbers of this head. */
function sentences() {
  const { layer } = state;
  const weights = chosenWeights();
  const query = chosenQuery();
  const key = state.key ?? largestPlace(weights);
  const even = uniformWeight(layer);
  const name = inWords(queryName(layer, query));
  const self = isSquare(layer) && key === query;
  const verb = state.key === null ? "attends most to" : "attends to";
  const parts = [
    `In ${chosenHead(layer)}, ${name} ${verb} ${self ? "itself" : inWords(keyName(layer, key))}: ` +
      `${percent(weights[key])}, ${times(weights[key] / even)} the uniform weight of ${percent(even)}.`,
  ];
  if (!self && isSquare(layer)) parts.push(`To itself: ${percent(weights[query])}.`);
  const masking = facts.influence.masking.values;
  const prefix = facts.grid ? facts.grid.prefix.length : 0;
  if (masking && layer.on_grid && key >= prefix) {
    const fall = masking[key - prefix];
    const { label, probability } = facts.prediction;
    parts.push(
      `When no token may attend to ${self ? "it" : "that patch"}, in any layer, the probability of ` +
        `${label} goes from ${percent(probability, 2)} to ${percent(probability - fall, 2)}.`,
    );
  }
  return parts.join(" ");
}

function cellWords(token) {
  const weights = chosenWeights();
  const share = weights[token];
  return (
    `${keyName(state.layer, token)}: ${percent(share)}, ` +
    `${times(share / uniformWeight(state.layer))} the uniform weight`
  );
}

function render() {
  renderHeads();
  renderMap();
  renderMatrix();
  renderBar();
  renderInfluence();
  element("sentence").textContent = sentences();
  renderTables();
}

function renderMap() {
  const { layer } = state;
  const weights = chosenWeights();
  const colour = weightColour(layer);
  const key = state.key ?? largestPlace(weights);
  const frames = [[key, "key"]];
  if (isSquare(layer)) frames.push([chosenQuery(), "query"]);
  drawMap(element("map").querySelector("canvas"), layer, weights.map(colour), MAP_WIDTH, frames);
  element("map-title").textContent = `Query: ${queryName(layer, chosenQuery())}`;
  element("map-where").textContent =
    `${chosenHead(layer)} · ${layer.name}` +
    (layer.on_grid ? "" : " · in order, not as in the picture");
  const photo = element("photo");
  if (photo) {
    photo.hidden = !layer.on_grid;
    if (layer.on_grid) drawPhoto(photo, layer, frames);
  }
  const picker = element("window");
  picker.closest("label").hidden = layer.windows < 2;
  picker.max = String(layer.windows);
  picker.value = String(windowIn(layer) + 1);
  showMapCell();
}

/** The picture with the frames of the map, and no tint: colours over a photo would lie. */
function drawPhoto(canvas, layer, frames) {
  const { picture, grid } = facts;
  const width = MAP_WIDTH;
  const height = (width * picture.height) / picture.width;
  const context = prepared(canvas, width, height);
  context.imageSmoothingEnabled = picture.width > width;
  context.drawImage(element("model-input"), 0, 0, width, height);
  for (const [token, kind] of frames) {
    const patch = token - grid.prefix.length;
    if (patch < 0) continue;
    const [w, h] = [width / grid.columns, height / grid.rows];
    const [column, row] = [patch % grid.columns, Math.floor(patch / grid.columns)];
    drawFrame(context, { x: column * w, y: row * h, width: w, height: h }, kind);
  }
}

/** The picture once more beside the maps of influence. */
function renderAgain() {
  const canvas = element("again");
  if (!canvas) return;
  const { width, height } = facts.picture;
  const context = prepared(canvas, INFLUENCE_WIDTH, (INFLUENCE_WIDTH * height) / width);
  context.imageSmoothingEnabled = width > INFLUENCE_WIDTH;
  context.drawImage(element("model-input"), 0, 0, INFLUENCE_WIDTH, (INFLUENCE_WIDTH * height) / width);
}

function renderMatrix() {
  const { layer } = state;
  const key = state.key ?? largestPlace(chosenWeights());
  drawMatrix(element("matrix").querySelector("canvas"), layer, chosenMatrix(), placeIn(layer), key);
  showMatrixCell();
}

const BAR_WORDS = {
  fixed: "Weight in per cent, from 0 to 100 for every map here; square-root scale.",
  times:
    "Weight as a multiple of the uniform weight, logarithmic; beyond 1/16 and 16 the colour of the end.",
};

function renderBar() {
  const even = uniformWeight(state.layer);
  drawBar(element("bar"), scaleBar(even, `uniform weight ${percent(even)}`));
  element("bar-words").textContent = BAR_WORDS[state.scale];
}

function renderTables() {
  const makers = {
    "map-table": () => mapTable(state.layer, chosenWeights(), inWords(queryName(state.layer, chosenQuery()))),
    "matrix-table": () => matrixTable(state.layer, chosenMatrix()),
    "heads-table": headsTable,
  };
  for (const [id, make] of Object.entries(makers)) {
    const details = element(id);
    const place = details.querySelector(".scroll");
    place.replaceChildren(...(details.open ? [make()] : []));
  }
}

// Thumbnails of every layer and head, for the selected query, on the one scale.

const THUMB_WIDTH = 60;
const heads = element("heads");

function makeHeads() {
  facts.layers.forEach((layer, row) => {
    const line = document.createElement("div");
    line.setAttribute("role", "row");
    const name = document.createElement("div");
    name.setAttribute("role", "rowheader");
    name.textContent = layerName(layer);
    name.title = layer.name;
    line.append(name, ...range(layer.heads).map((head) => makeHead(layer, row, head)));
    heads.append(line);
  });
}

function makeHead(layer, row, head) {
  const cell = document.createElement("div");
  cell.setAttribute("role", "gridcell");
  cell.dataset.layer = String(row);
  cell.dataset.head = String(head);
  cell.tabIndex = -1;
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  const number = document.createElement("span");
  number.textContent = `H${head + 1}`;
  number.setAttribute("aria-hidden", "true");
  cell.append(canvas, number);
  cell.addEventListener("click", () => pickHead(layer, head));
  return cell;
}

const headCells = () => [...heads.querySelectorAll("[role=gridcell]")];

function renderHeads() {
  for (const cell of headCells()) {
    const layer = facts.layers[Number(cell.dataset.layer)];
    const head = Number(cell.dataset.head);
    const weights = weightsOf(layer, windowIn(layer), head, placeIn(layer));
    const best = largestPlace(weights);
    drawMap(cell.querySelector("canvas"), layer, weights.map(weightColour(layer)), THUMB_WIDTH);
    const chosen = layer === state.layer && head === state.head;
    cell.tabIndex = chosen ? 0 : -1;
    cell.setAttribute("aria-selected", String(chosen));
    cell.setAttribute(
      "aria-label",
      `${headName(layer, head)}: largest weight on ${keyName(layer, best)}, ${percent(weights[best])}`,
    );
  }
}

heads.addEventListener("keydown", (event) => {
  const rows = facts.layers.map((layer, row) =>
    headCells().filter((cell) => Number(cell.dataset.layer) === row),
  );
  const current = headCells().find((cell) => cell.getAttribute("aria-selected") === "true");
  const next = neighbour(rows, current, event);
  if (next === undefined) return;
  event.preventDefault();
  pickHead(facts.layers[Number(next.dataset.layer)], Number(next.dataset.head));
  next.focus();
});

// Four measures of what the prediction depends on, side by side.

/** All tokens of the grid, as in a layer that attends over all of them. */
const everyToken = facts.grid && {
  on_grid: true,
  keys: facts.grid.prefix.length + facts.grid.rows * facts.grid.columns,
};

function renderInfluence() {
  for (const name of ["rollout", "relevance"]) {
    const canvas = element(`${name}-map`);
    if (!canvas) continue;
    const { values } = facts.influence[name];
    const even = 1 / values.length;
    drawMap(canvas, everyToken, values.map(shareColour(even)), INFLUENCE_WIDTH);
    drawBar(element(`${name}-bar`), scaleBar(even, "even", [0, 0.01, 0.1, 0.25, 0.5, 1]));
  }
  renderSigned("masking", points);
  renderSigned("shapley", (value) => points(value / 100));
}

function renderSigned(name, text) {
  const canvas = element(`${name}-map`);
  if (!canvas) return;
  const { values, max } = facts.influence[name];
  const colours = values.map((fall) => signedColour(max ? fall / max : 0));
  const prefix = facts.grid.prefix.map(() => null);
  drawMap(canvas, everyToken, [...prefix, ...colours], INFLUENCE_WIDTH);
  drawBar(element(`${name}-bar`), {
    colour: (place) => signedColour(2 * place - 1),
    marks: [
      [0, text(-max)],
      [0.5, "0"],
      [1, text(max)],
    ],
  });
}
