// The same numbers as tables. Each is made when it is opened, since some have many rows.

const MAX_ROWS = 64;
const MAX_COLUMNS = 32;

function table(caption, head, rows) {
  const made = document.createElement("table");
  const title = made.createCaption();
  title.textContent = caption;
  const top = made.createTHead().insertRow();
  head.forEach((text) => top.append(cellOf("th", text, "col")));
  const body = made.createTBody();
  rows.forEach(([name, ...rest]) => {
    const line = body.insertRow();
    line.append(cellOf("th", name, "row"), ...rest.map((text) => cellOf("td", text)));
  });
  return made;
}

function cellOf(kind, text, scope) {
  const cell = document.createElement(kind);
  if (scope) cell.scope = scope;
  cell.textContent = text;
  return cell;
}

/** One query's weights on every key, or the largest ones and the sum of the rest. */
function mapTable(layer, weights, query) {
  const even = uniformWeight(layer);
  let order = range(weights.length);
  let rest = [];
  if (weights.length > MAX_ROWS) {
    order = order.sort((a, b) => weights[b] - weights[a] || a - b);
    [order, rest] = [order.slice(0, MAX_ROWS), order.slice(MAX_ROWS)];
  }
  const masking = layer.on_grid ? facts.influence.masking.values : null;
  const prefix = layer.on_grid ? facts.grid.prefix.length : 0;
  const rows = order.map((token) => [
    keyName(layer, token),
    percent(weights[token], 2),
    times(weights[token] / even),
    ...(masking ? [token < prefix ? "" : points(masking[token - prefix])] : []),
  ]);
  if (rest.length) {
    const sum = rest.reduce((total, token) => total + weights[token], 0);
    rows.push([`${rest.length} others, together`, percent(sum, 2), "", ...(masking ? [""] : [])]);
  }
  return table(
    `Weights of ${query}, ${chosenHead(layer)}`,
    ["key token", "weight", "× uniform weight", ...(masking ? ["masking, points"] : [])],
    rows,
  );
}

/** The whole matrix; where it is too wide, the three largest weights of every query. */
function matrixTable(layer, rows) {
  const caption = `Attention matrix, ${chosenHead(layer)}`;
  const named = rows.map((weights, place) => [queryName(layer, layer.queries[place]), weights]);
  if (layer.keys <= MAX_COLUMNS) {
    const head = ["query ↓ · key →", ...range(layer.keys).map((key) => keyName(layer, key))];
    return table(caption, head, named.map(([name, w]) => [name, ...w.map((x) => percent(x))]));
  }
  const largest = named.map(([name, weights]) => [
    name,
    ...range(weights.length)
      .sort((a, b) => weights[b] - weights[a] || a - b)
      .slice(0, 3)
      .map((token) => `${keyName(layer, token)}: ${percent(weights[token])}`),
  ]);
  return table(caption, ["query token", "largest", "second", "third"], largest);
}

/** The largest weight of the selected query, in every layer and head. */
function headsTable() {
  const rows = facts.layers.flatMap((layer) => {
    const place = placeIn(layer);
    return range(layer.heads).map((head) => {
      const weights = weightsOf(layer, windowIn(layer), head, place);
      const best = largestPlace(weights);
      return [
        headName(layer, head),
        keyName(layer, best),
        percent(weights[best]),
        times(weights[best] / uniformWeight(layer)),
      ];
    });
  });
  return table(
    `Largest weight of ${inWords(queryName(state.layer, chosenQuery()))} in every head`,
    ["head", "key token", "weight", "× uniform weight"],
    rows,
  );
}
