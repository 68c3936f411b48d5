// Every layer and head in small, for the picked query, on the one scale.

const THUMB_WIDTH = 60;
const heads = element("heads");

function makeHeads() {
  facts.layers.forEach((layer, row) => {
    const line = document.createElement("div");
    line.setAttribute("role", "row");
    const name = document.createElement("div");
    name.setAttribute("role", "rowheader");
    name.textContent = capital(layerName(layer));
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
  number.textContent = String(head + 1);
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
      `${layerName(layer)}, head ${head + 1}: most on ${keyName(layer, best)}, ${percent(weights[best])}`,
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
