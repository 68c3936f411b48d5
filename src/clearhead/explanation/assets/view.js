// What is picked, and everything that follows from it.

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
  const head = `${layerName(layer)}, head ${state.head + 1}`;
  return layer.windows > 1 ? `${head}, window ${windowIn(layer) + 1} of ${layer.windows}` : head;
}


/** The kept query of a layer that is the picked one, or comes nearest to it. */
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

/** "The patch at row 2, column 3 looks most at …", with the numbers of this very head. */
function sentences() {
  const { layer } = state;
  const weights = chosenWeights();
  const query = chosenQuery();
  const key = state.key ?? largestPlace(weights);
  const even = evenShare(layer);
  const asker = inWords(queryName(layer, query));
  const self = isSquare(layer) && key === query;
  const verb = state.key === null ? "looks most at" : "looks at";
  const said = [
    `In ${chosenHead(layer)}, ${asker} ${verb} ${self ? "itself" : inWords(keyName(layer, key))}: ` +
      `${percent(weights[key])}, ${times(weights[key] / even)} an even share of ${percent(even)}.`,
  ];
  if (!self && isSquare(layer)) said.push(`On itself: ${percent(weights[query])}.`);
  const silencing = facts.influence.silencing.values;
  const prefix = facts.grid ? facts.grid.prefix.length : 0;
  if (silencing && layer.onGrid && key >= prefix) {
    const fall = silencing[key - prefix];
    const { label, probability } = facts.answer;
    said.push(
      `When no token may look at ${self ? "it" : "that patch"}, in any layer, the probability of ` +
        `${label} goes from ${percent(probability, 2)} to ${percent(probability - fall, 2)}.`,
    );
  }
  return said.join(" ");
}

function cellWords(token) {
  const weights = chosenWeights();
  const share = weights[token];
  return (
    `${keyName(state.layer, token)}: ${percent(share)}, ` +
    `${times(share / evenShare(state.layer))} an even share`
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
  const frames = [[key, "asked"]];
  if (isSquare(layer)) frames.push([chosenQuery(), "asks"]);
  drawMap(element("map").querySelector("canvas"), layer, weights.map(colour), MAP_WIDTH, frames);
  element("map-title").textContent = `${capital(queryName(layer, chosenQuery()))} asks`;
  element("map-where").textContent =
    `${capital(chosenHead(layer))} · ${layer.name}` +
    (layer.onGrid ? "" : " · in order, not as in the picture");
  const photo = element("photo");
  if (photo) {
    photo.hidden = !layer.onGrid;
    if (layer.onGrid) drawPhoto(photo, layer, frames);
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
  context.drawImage(element("seen"), 0, 0, width, height);
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
  context.drawImage(element("seen"), 0, 0, INFLUENCE_WIDTH, (INFLUENCE_WIDTH * height) / width);
}

function renderMatrix() {
  const { layer } = state;
  const key = state.key ?? largestPlace(chosenWeights());
  drawMatrix(element("matrix").querySelector("canvas"), layer, chosenMatrix(), placeIn(layer), key);
  showMatrixCell();
}

const BAR_WORDS = {
  fixed: "Weight in per cent, from 0 to 100 for every map here; square-root ramp.",
  times:
    "Weight as a multiple of an even share, logarithmic; beyond 1/16 and 16 it takes the colour of the end.",
};

function renderBar() {
  const even = evenShare(state.layer);
  drawBar(element("bar"), scaleBar(even, `even share ${percent(even)}`));
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
