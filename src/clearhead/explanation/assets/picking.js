// A drawn map as a grid for keyboard and screen reader: one cell at a time stands in the page.

/**
 * `rows()` gives the identities of the cells row by row, `box(id)` where one lies in shares of the
 * map, `current()` the one that is picked, `label(id)` its words, `pick(id)` what happens.
 */
function pickable(host, { rows, box, current, label, pick }) {
  const line = host.querySelector("[role=row]");

  function show() {
    const all = rows();
    const [row, column] = find(all, current());
    const [left, top, width, height] = box(current());
    const cell = document.createElement("div");
    cell.setAttribute("role", "gridcell");
    cell.setAttribute("aria-selected", "true");
    cell.setAttribute("aria-colindex", String(column + 1));
    cell.setAttribute("aria-label", label(current()));
    cell.tabIndex = 0;
    Object.assign(cell.style, {
      left: `${100 * left}%`,
      top: `${100 * top}%`,
      width: `${100 * width}%`,
      height: `${100 * height}%`,
    });
    const focused = line.contains(document.activeElement);
    line.setAttribute("aria-rowindex", String(row + 1));
    line.replaceChildren(cell);
    host.setAttribute("aria-rowcount", String(all.length));
    host.setAttribute("aria-colcount", String(Math.max(...all.map((some) => some.length))));
    if (focused) cell.focus({ preventScroll: true });
  }

  host.addEventListener("keydown", (event) => {
    const next = neighbour(rows(), current(), event);
    if (next === undefined) return;
    event.preventDefault();
    pick(next);
  });
  host.addEventListener("click", (event) => {
    const area = host.getBoundingClientRect();
    const x = (event.clientX - area.left) / area.width;
    const y = (event.clientY - area.top) / area.height;
    const hit = rows().flat().find((id) => {
      const [left, top, width, height] = box(id);
      return x >= left && x < left + width && y >= top && y < top + height;
    });
    if (hit === undefined) return;
    pick(hit);
    line.firstElementChild.focus({ preventScroll: true });
  });
  return show;
}

/** Where the key that was pressed leads; undefined for any other key. */
function neighbour(all, id, event) {
  const [row, column] = find(all, id);
  const down = Math.min(all.length - 1, row + 1);
  const up = Math.max(0, row - 1);
  const last = all[row].length - 1;
  const moves = {
    ArrowRight: [row, Math.min(last, column + 1)],
    ArrowLeft: [row, Math.max(0, column - 1)],
    ArrowDown: [down, Math.min(all[down].length - 1, column)],
    ArrowUp: [up, Math.min(all[up].length - 1, column)],
    Home: event.ctrlKey ? [0, 0] : [row, 0],
    End: event.ctrlKey ? [all.length - 1, all[all.length - 1].length - 1] : [row, last],
  };
  const move = moves[event.key];
  if (!move || event.altKey || event.metaKey) return undefined;
  return all[move[0]][move[1]];
}

function find(all, id) {
  for (let row = 0; row < all.length; row++) {
    const column = all[row].indexOf(id);
    if (column >= 0) return [row, column];
  }
  return [0, 0];
}
