// Attention weights of a picture: one query in every head, over the picture, and the whole matrix.

import { useState } from "preact/hooks";

import { TintedCanvas } from "../draw/canvas";
import { largestSize, weightColour, type Colour } from "../draw/colours";
import { headName, isDense, tokenName, tokenShort } from "../draw/geometry";
import { multiple, percent, points } from "../draw/numbers";
import { argmax, ranked, row } from "../engine/arithmetic";
import { isSquare, layoutOf, nearestPlace } from "./data";
import type { PartProps } from "./picture";
import { Slider, TableButton, type TableData } from "../parts/controls";
import { DigitMap } from "../parts/digitmap";
import { gridEvents } from "../parts/grid";
import { Matrix } from "../parts/matrix";
import { Pair, pairLabel, ScaleChoice, WeightScale } from "../parts/scale";

const MAX_ROWS = 64; // of a table
const MAX_COLUMNS = 32;

type Props = PartProps & { weights: Float64Array };
type Head = ReturnType<typeof headOf>;

/** What is shown of one head. */
function headOf({ data, weights, chosen }: Props, place: number, head: number) {
  const layer = data.layers[place];
  const window = Math.min(chosen.window, layer.windows - 1);
  const at = nearestPlace(layer, chosen.query); // of the query among those that are kept
  const { keys, queries } = layer;
  const start = layer.offset + (window * layer.heads + head) * queries.length * keys;
  const layout = layoutOf(data, layer);
  const square = isSquare(layer);
  const matrix = weights.subarray(start, start + queries.length * keys);
  const shares = row(matrix, at, keys);
  return {
    layer,
    layout,
    square,
    window,
    at,
    matrix,
    shares,
    best: argmax(shares),
    even: 1 / keys,
    query: queries[at],
    name: headName(data.names.indexOf(layer.name), head),
    where: layer.windows > 1 ? `, window ${window + 1} of ${layer.windows}` : "",
    keyName: (token: number): string => tokenName(token, layout),
    queryName: (token = queries[at]): string => (square ? tokenName(token, layout) : `query ${token + 1}`),
    /** The change of the predicted class's probability if no token attends to this one, in any layer. */
    changeIfMasked: (token: number): number | undefined => {
      const fall = layer.on_grid ? data.influence.masking.values?.[token - layout.numPrefixTokens] : undefined;
      return fall && -fall;
    },
  };
}

export function Attention(props: Props) {
  const { data, ink, chosen, choose } = props;
  const [hover, setHover] = useState<{ query?: number; key: number } | null>(null);
  const shown = headOf(props, chosen.layer, chosen.head);
  const { layer, layout, square, shares, matrix, even, at, query } = shown;
  const key = chosen.key ?? shown.best;
  const colour = (weight: number): Colour => weightColour(weight, chosen.scale, even, 1);
  const pair = { query: hover?.query ?? at, key: hover?.key ?? key };
  const map = {
    config: layout,
    blank: layer.on_grid ? data.picture.blank : [],
    chosen: square ? query : key,
    query: square ? query : null,
    key_: pair.key,
    nameAt: (token: number): string => `${shown.keyName(token)}${token === query && square ? ", query" : `: ${percent(shares[token])}`}`,
    choose: (token: number): void => choose(square ? { query: layer.queries[nearestPlace(layer, token)], key: null } : { key: token }),
    hover: (token: number | null): void => setHover(token === null ? null : { key: token }),
  };
  return (
    <section class="attention" id="attention">
      <h2>Attention</h2>
      <p class="readout" id="sentence" aria-live="polite">
        <Pair head={shown.name + shown.where} query={shown.queryName(layer.queries[pair.query])} key_={shown.keyName(pair.key)} weight={matrix[pair.query * layer.keys + pair.key]} even={even} />
        <Masked data={data} head={shown} token={pair.key} />
      </p>
      {data.omissions && <p class="note" id="omissions">{data.omissions}</p>}
      <div class="row">
        <ScaleChoice modes={["fixed", "even"]} mode={chosen.scale} choose={(scale) => choose({ scale })} />
        <WeightScale mode={chosen.scale} even={even} largest={largestSize(shares)} />
        {layer.windows > 1 && (
          <Slider label="Window" min={1} max={layer.windows} step={1} value={shown.window + 1} change={(value) => choose({ window: value - 1, key: null })} />
        )}
      </div>
      <div class="views">
        {layer.on_grid && (
          <div class="panel">
            <h3>Query: {shown.queryName()}</h3>
            <DigitMap {...map} label="Tokens: choose the query" ink={ink} address={ink ? undefined : data.address} weights={shares} />
            <p class="small">Lines lead to the patches that it attends to. Choose another query by pointer or arrow keys.</p>
          </div>
        )}
        {(!layer.on_grid || isDense(layout)) && (
          <div class="panel">
            <h3>Weights of {shown.queryName()}</h3>
            <DigitMap {...map} class="weights" label="Weights of the query" tint={(token) => colour(shares[token])} values={(token) => percent(shares[token])} />
            {!layer.on_grid && <p class="small">In order, not as in the picture.</p>}
          </div>
        )}
        <div class="panel">
          <h3>The whole matrix</h3>
          <Matrix
            label="Rows are queries, columns are keys"
            rows={layer.queries.map((token) => (square ? tokenShort(token, layout) : String(token + 1)))}
            columns={Array.from(shares, (_, token) => tokenShort(token, layout))}
            colourAt={(q, k) => colour(matrix[q * layer.keys + k])}
            nameAt={(q, k) => pairLabel(shown.queryName(layer.queries[q]), shown.keyName(k), matrix[q * layer.keys + k], even)}
            chosen={[at, key]}
            shown={[pair.query, pair.key]}
            drawn={`${shown.name}${shown.where} ${chosen.scale}`}
            choose={(q, k) => choose({ query: layer.queries[q], key: k })}
            hover={(place) => setHover(place && { query: place[0], key: place[1] })}
          />
        </div>
        <div class="panel">
          <h3>Every layer and head</h3>
          <Heads {...props} />
          <p class="small">The same query in each, on one scale: {shown.name} is {layer.name}.</p>
        </div>
      </div>
      <div class="row">
        <TableButton text="Table of this query" {...queryTable(shown)} />
        <TableButton text="Table of the matrix" {...matrixTable(shown)} />
        <TableButton text="Table of all heads" {...headsTable(props, shown)} />
      </div>
    </section>
  );
}

function Masked({ data, head, token }: { data: Props["data"]; head: Head; token: number }) {
  const change = head.changeIfMasked(token);
  if (change === undefined) return null;
  const [name, before] = data.classes.reduce((best, one) => (one[1] > best[1] ? one : best));
  return (
    <>
      {" "}
      When no token may attend to {head.keyName(token)}, in any layer, the probability of {name} {percent(before) === percent(before + change) ? "stays" : `goes from ${percent(before)} to`} {percent(before + change)}.
    </>
  );
}

/** One query in every head. */
function Heads(props: Props) {
  const { data, chosen, choose } = props;
  const places = data.layers.flatMap(({ heads }, layer) => Array.from({ length: heads }, (_, head): [number, number] => [layer, head]));
  const pick = (place: number): void => choose({ layer: places[place][0], head: places[place][1], key: null });
  return (
    <div role="grid" id="heads" aria-label="Layers and heads" {...gridEvents({ name: "place", choose: pick })}>
      {data.layers.map((layer, i) => (
        <div role="row" key={i}>
          <span role="rowheader" title={layer.name}>L{data.names.indexOf(layer.name) + 1}</span>
          {Array.from({ length: layer.heads }, (_, head) => {
            const { shares, layout, keyName, even, best, name } = headOf(props, i, head);
            const isNow = i === chosen.layer && head === chosen.head;
            return (
              <div
                role="gridcell"
                key={head}
                data-place={places.findIndex((one) => one[0] === i && one[1] === head)}
                class={`thumb ${isNow ? "now" : ""}`}
                tabIndex={isNow ? 0 : -1}
                aria-selected={isNow}
                aria-label={`${name}: attends most to ${keyName(best)}, ${percent(shares[best])}`}
                title={name}
              >
                <TintedCanvas prefix config={layout} ink={layer.on_grid ? props.ink : null} colours={Array.from(shares, (weight) => weightColour(weight, chosen.scale, even, 1))} />
              </div>
            );
          })}
        </div>
      ))}
    </div>
  );
}

function queryTable({ shares, even, name, where, keyName, queryName, changeIfMasked }: Head): TableData {
  const order = shares.length > MAX_ROWS ? ranked(shares).slice(0, MAX_ROWS) : [...shares.keys()];
  const rest = 1 - order.reduce((sum, token) => sum + shares[token], 0);
  const changes = order.map(changeIfMasked);
  const known = changes.some((change) => change !== undefined);
  return {
    caption: `Weights of ${queryName()}, ${name}${where}`,
    columns: ["key", "weight", "× uniform", ...(known ? ["if masked, points"] : [])],
    rows: () => [
      ...order.map((token, i) => {
        const change = changes[i];
        return [keyName(token), percent(shares[token]), multiple(shares[token] / even), ...(known ? [change === undefined ? "" : points(change)] : [])];
      }),
      ...(order.length < shares.length ? [[`${shares.length - order.length} others, together`, percent(Math.max(0, rest)), ""]] : []),
    ],
  };
}

/** The whole matrix; where it is too wide, the three largest weights of every query. */
function matrixTable({ layer: { keys, queries }, matrix, name, where, keyName, queryName }: Head): TableData {
  const isWide = keys > MAX_COLUMNS;
  const largest = (weights: Float64Array): string[] => ranked(weights).slice(0, 3).map((key) => `${keyName(key)}: ${percent(weights[key])}`);
  return {
    caption: `Attention matrix, ${name}${where}`,
    columns: isWide ? ["query", "largest", "second", "third"] : ["query ↓ · key →", ...Array.from({ length: keys }, (_, key) => keyName(key))],
    rows: () => queries.map((query, place) => [queryName(query), ...(isWide ? largest : (weights: Float64Array) => Array.from(weights, percent))(row(matrix, place, keys))]),
  };
}

function headsTable(props: Props, { queryName }: Head): TableData {
  const heads = (): Head[] => props.data.layers.flatMap((layer, place) => Array.from({ length: layer.heads }, (_, head) => headOf(props, place, head)));
  return {
    caption: `Largest weight of ${queryName()} in every head`,
    columns: ["head", "key", "weight", "× uniform"],
    rows: () => heads().map(({ name, where, keyName, shares, best, even }) => [name + where, keyName(best), percent(shares[best]), multiple(shares[best] / even)]),
  };
}
