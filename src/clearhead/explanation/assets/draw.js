// Where each token's cell lies, and how maps and matrices are drawn.

// The patches lie as in the picture, the tokens before them in a row above.
const PER_ROW = 16; // tokens without a place in the picture

/** Rows of tokens, from top to bottom. */
function rowsOf(layer) {
  if (!layer.on_grid) return chunks(range(layer.keys), PER_ROW);
  const { prefix, rows, columns } = facts.grid;
  const patches = range(rows * columns).map((patch) => patch + prefix.length);
  return [...chunks(range(prefix.length), columns), ...chunks(patches, columns)];
}

/** Every token's rectangle in a map of this width, and the height of it all. */
function geometry(layer, width) {
  const rows = rowsOf(layer);
  const columns = layer.on_grid ? facts.grid.columns : Math.min(PER_ROW, layer.keys);
  const prefix = layer.on_grid ? facts.grid.prefix.length : 0;
  const wide = width / columns;
  const { picture, grid } = facts;
  const high = layer.on_grid
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

const INK_LIGHT = "#ffffff";
const INK_DARK = "#0b0f14";

/** A canvas of this size in CSS pixels, sharp on any screen. */
function prepared(canvas, width, height) {
  const density = Math.max(1, window.devicePixelRatio || 1);
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  canvas.style.aspectRatio = `${width} / ${height}`;
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  return context;
}

const inks = inkBytes ? { light: inkOf(INK_LIGHT), dark: inkOf(INK_DARK) } : null;

/** The digit in one colour, as opaque as there is ink. */
function inkOf(colour) {
  const { width, height } = facts.picture;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  const parts = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  inkBytes.forEach((alpha, place) => image.data.set([...parts, alpha], 4 * place));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** One map: a colour for each token, ink above the patches, frames around some. */
function drawMap(canvas, layer, colours, width, frames = []) {
  const shape = geometry(layer, width);
  const context = prepared(canvas, width, shape.height);
  const prefix = layer.on_grid ? facts.grid.prefix.length : 0;
  shape.cells.forEach((exact, token) => {
    const cell = onPixels(exact);
    const colour = colours[token];
    if (!colour) return drawHatch(context, cell, "#8a8f98");
    context.fillStyle = css(colour);
    context.fillRect(cell.x, cell.y, cell.width, cell.height);
    if (layer.on_grid && token < prefix && width > 100) drawSign(context, cell, facts.grid.prefix[token], colour);
    if (!layer.on_grid || token < prefix || !inks) return undefined;
    const patch = token - prefix;
    const light = isLight(colour);
    if (width > 100 && facts.picture.blank[patch]) drawHatch(context, cell, light ? "#0b0f1433" : "#ffffff33");
    return drawInk(context, cell, patch, light ? inks.dark : inks.light);
  });
  frames.forEach(([token, kind]) => drawFrame(context, shape.cells[token], kind));
  return shape;
}

/** The cell on whole pixels of the screen, with a line between it and the next where it is large. */
function onPixels({ x, y, width, height }) {
  const density = Math.max(1, window.devicePixelRatio || 1);
  const round = (place) => Math.round(place * density) / density;
  const gap = width < 12 ? 0 : 1 / density;
  return {
    x: round(x),
    y: round(y),
    width: round(x + width) - round(x) - gap,
    height: round(y + height) - round(y) - gap,
  };
}

function drawInk(context, cell, patch, ink) {
  const { picture, grid } = facts;
  const [wide, high] = [picture.width / grid.columns, picture.height / grid.rows];
  const [column, row] = [patch % grid.columns, Math.floor(patch / grid.columns)];
  context.drawImage(ink, column * wide, row * high, wide, high, cell.x, cell.y, cell.width, cell.height);
}

/** The initials of a token that is no patch: C for class token, R2 for register 2. */
function drawSign(context, { x, y, width, height }, name, colour) {
  context.fillStyle = isLight(colour) ? INK_DARK : INK_LIGHT;
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  const number = name.match(/\d+$/);
  context.fillText(name[0].toUpperCase() + (number ? number[0] : ""), x + width / 2, y + height / 2);
}

/** Lines across a cell: a patch without ink, or (without a colour) a cell without a number. */
function drawHatch(context, { x, y, width, height }, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1;
  for (let shift = -height; shift < width; shift += 6) {
    context.beginPath();
    context.moveTo(x + shift, y + height);
    context.lineTo(x + shift + height, y);
    context.stroke();
  }
  context.restore();
}

/** White on black, so that it is seen on any colour; dashed around the key token. */
function drawFrame(context, { x, y, width, height }, kind) {
  const thick = Math.max(1, Math.min(3, width / 7));
  context.save();
  context.setLineDash(kind === "key" ? [Math.max(2, width / 8), Math.max(2, width / 10)] : []);
  for (const [colour, line] of [["#000000", thick + 2], ["#ffffff", thick]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    const inset = (thick + 2) / 2;
    context.strokeRect(x + inset, y + inset, width - 2 * inset - 1, height - 2 * inset - 1);
    if (kind === "key") context.setLineDash([Math.max(2, width / 8), Math.max(2, width / 10)]);
  }
  context.restore();
}

/** A whole matrix, one row for each query that is kept. */
function drawMatrix(canvas, layer, rows, place, key) {
  const columns = layer.keys;
  const side = 1200;
  const cell = Math.max(1, Math.floor(side / Math.max(columns, rows.length)));
  [canvas.width, canvas.height] = [columns * cell, rows.length * cell];
  canvas.style.aspectRatio = `${columns} / ${rows.length}`;
  const colour = weightColour(layer);
  const small = document.createElement("canvas");
  [small.width, small.height] = [columns, rows.length];
  const image = new ImageData(columns, rows.length);
  rows.forEach((weights, row) =>
    weights.forEach((weight, column) =>
      image.data.set([...colour(weight), 255], 4 * (row * columns + column)),
    ),
  );
  small.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const line = Math.max(3, cell / 10);
  frame(context, 0, place * cell, canvas.width, cell, line);
  frame(context, key * cell, place * cell, cell, cell, line);
}

function frame(context, x, y, width, height, line) {
  for (const [colour, thick] of [["#000000", 2 * line], ["#ffffff", line]]) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.strokeRect(x, y, width, height);
  }
}
