// Where each token's cell lies: the patches as in the picture, the tokens before them in a row above.

const PER_ROW = 16; // tokens without a place in the picture

/** Rows of tokens, from top to bottom. */
function rowsOf(layer) {
  if (!layer.onGrid) return chunks(range(layer.keys), PER_ROW);
  const { prefix, rows, columns } = facts.grid;
  const patches = range(rows * columns).map((patch) => patch + prefix.length);
  return [...chunks(range(prefix.length), columns), ...chunks(patches, columns)];
}

/** Every token's rectangle in a map of this width, and the height of it all. */
function geometry(layer, width) {
  const rows = rowsOf(layer);
  const columns = layer.onGrid ? facts.grid.columns : Math.min(PER_ROW, layer.keys);
  const prefix = layer.onGrid ? facts.grid.prefix.length : 0;
  const wide = width / columns;
  const { picture, grid } = facts;
  const high = layer.onGrid
    ? (wide * (picture.height / grid.rows)) / (picture.width / grid.columns)
    : wide;
  const low = width < 100 ? Math.max(5, Math.min(high, 8)) : Math.max(22, Math.min(high, 36));
  const broad = Math.max(wide, Math.min(low, width / Math.max(1, Math.min(prefix, columns))));
  const cells = new Array(layer.keys);
  let top = 0;
  for (const row of rows) {
    const before = row[0] < prefix;
    row.forEach((token, column) => {
      const [w, h] = before ? [broad, low] : [wide, high];
      cells[token] = { x: column * w, y: top, width: w, height: h };
    });
    top += before ? low : high;
    if (before && row[row.length - 1] === prefix - 1) top += width < 100 ? 2 : 6;
  }
  return { cells, width, height: top, top: prefix ? cells[prefix].y : 0 };
}

const range = (count) => Array.from({ length: count }, (_, place) => place);

function chunks(items, size) {
  return range(Math.ceil(items.length / size)).map((i) => items.slice(i * size, (i + 1) * size));
}
