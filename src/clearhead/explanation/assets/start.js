// The page begins: grids, switches, first drawing.

const MAP_WIDTH = 352;
const INFLUENCE_WIDTH = 220;

/** A cell's place in its map, in shares of the map. */
function boxInMap(token) {
  const shape = geometry(state.layer, MAP_WIDTH);
  const { x, y, width, height } = shape.cells[token];
  return [x / shape.width, y / shape.height, width / shape.width, height / shape.height];
}

const showMapCell = pickable(element("map"), {
  rows: () => rowsOf(state.layer),
  box: boxInMap,
  current: () => (isSquare(state.layer) ? chosenQuery() : state.key ?? largestPlace(chosenWeights())),
  label: (token) =>
    isSquare(state.layer)
      ? `query: ${keyName(state.layer, token)}; weight on itself ${percent(chosenWeights()[token])}`
      : cellWords(token),
  pick: (token) => {
    if (isSquare(state.layer)) return pickQuery(token);
    state.key = token;
    return render();
  },
});

const showMatrixCell = pickable(element("matrix"), {
  rows: () =>
    state.layer.queries.map((_, place) =>
      range(state.layer.keys).map((key) => place * state.layer.keys + key),
    ),
  box: (cell) => {
    const { keys, queries } = state.layer;
    const [place, key] = [Math.floor(cell / keys), cell % keys];
    return [key / keys, place / queries.length, 1 / keys, 1 / queries.length];
  },
  current: () =>
    placeIn(state.layer) * state.layer.keys + (state.key ?? largestPlace(chosenWeights())),
  label: (cell) => {
    const key = cell % state.layer.keys;
    return `query: ${queryName(state.layer, chosenQuery())}; key: ${cellWords(key)}`;
  },
  pick: (cell) => {
    state.query = state.layer.queries[Math.floor(cell / state.layer.keys)];
    state.key = cell % state.layer.keys;
    render();
  },
});

for (const radio of document.querySelectorAll("input[name=scale]")) {
  radio.addEventListener("change", () => {
    state.scale = radio.value;
    render();
  });
}
for (const details of document.querySelectorAll("details[data-live]")) {
  details.addEventListener("toggle", renderTables);
}
element("window").addEventListener("change", (event) => {
  state.window = Math.max(1, Math.min(state.layer.windows, Number(event.target.value) || 1)) - 1;
  state.key = null;
  render();
});
element("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

makeHeads();
render();
element("model-input")
  .decode()
  .catch(() => undefined)
  .then(render)
  .then(renderAgain);
