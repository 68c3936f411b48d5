// Attention weights of a picture: one query in every head, over the picture, and the whole matrix.

import { useState } from "preact/hooks";

import { TintedCanvas } from "../draw/canvas";
import { largestSize, weightColour, type Colour } from "../draw/colours";
import { headName, isDense, tokenName, tokenShort } from "../draw/geometry";
import { multiple, percent, points } from "../draw/numbers";
import { argmax, ranked, row } from "../engine/arithmetic";
import { Slider, TableButton, type TableData } from "../parts/controls";
import { DigitMap } from "../parts/digitmap";
import { Matrix } from "../parts/matrix";
import { Pair, pairLabel } from "../parts/readout";
import { gridEvents, moved } from "../parts/roving";
import { ScaleChoice, WeightScale } from "../parts/scale";
import { isSquare, layoutOf, nearestPlace, type Layer } from "./data";
import { change, type PartProps } from "./picture";

const MAX_ROWS = 64; // of a table
const MAX_COLUMNS = 32;

type Props = PartProps & { weights: Float64Array };

/** What is shown of one head. */
function headOf({ data, weights, chosen }: Props, layer: Layer, head: number) {
  const window = Math.min(chosen.window, layer.windows - 1);
  const place = nearestPlace(layer, chosen.query);
  const { keys, queries } = layer;
  const start = layer.offset + (window * layer.heads + head) * queries.length * keys;
  const layout = layoutOf(data, layer);
  return {
    layout,
    window,
    place,
    even: 1 / keys,
    query: queries[place],
    row: row(weights.subarray(start), place, keys),
    matrix: weights.subarray(start, start + queries.length * keys),
    title: headName(data.names.indexOf(layer.name), head) + (layer.windows > 1 ? `, window ${window + 1} of ${layer.windows}` : ""),
    keyName: (token: number): string => tokenName(token, layout),
    queryName: (token: number): string => (isSquare(layer) ? tokenName(token, layout) : `query ${token + 1}`),
  };
}

export function Attention(props: Props) {
  const { data, ink, chosen, choose } = props;
  const [hover, setHover] = useState<{ query?: number; key: number } | null>(null);
  const layer = data.layers[chosen.layer];
  const shown = headOf(props, layer, chosen.head);
  const { layout, row, matrix, even, place, query, title } = shown;
  const key = chosen.key ?? argmax(row);
  const colour = (weight: number): Colour => weightColour(weight, chosen.scale, even, 1);
  const pair = { query: hover?.query ?? place, key: hover?.key ?? key };
  const pick = (token: number): void => choose(isSquare(layer) ? { query: layer.queries[nearestPlace(layer, token)], key: null } : { key: token });
  const map = {
    config: layout,
    blank: layer.on_grid ? data.picture.blank : [],
    chosen: isSquare(layer) ? query : key,
    query: isSquare(layer) ? query : null,
    key_: pair.key,
    nameAt: (token: number): string => (token === query && isSquare(layer) ? `${shown.keyName(token)}, query` : `${shown.keyName(token)}: ${percent(row[token])}`),
    choose: pick,
    hover: (token: number | null): void => setHover(token === null ? null : { key: token }),
  };
  return (
    <section class="attention" id="attention">
      <h2>Attention</h2>
      <p class="readout" id="sentence" aria-live="polite">
        <Pair head={title} query={shown.queryName(layer.queries[pair.query])} key_={shown.keyName(pair.key)} weight={matrix[pair.query * layer.keys + pair.key]} even={even} />
        <Masked {...props} layer={layer} token={pair.key} />
      </p>
      {data.omissions && <p class="note" id="omissions">{data.omissions}</p>}
      <div class="row">
        <ScaleChoice modes={["fixed", "even"]} mode={chosen.scale} choose={(scale) => choose({ scale })} />
        <WeightScale mode={chosen.scale} even={even} largest={largestSize(row)} />
        {layer.windows > 1 && (
          <Slider label="Window" min={1} max={layer.windows} step={1} value={shown.window + 1} change={(value) => choose({ window: value - 1, key: null })} />
        )}
      </div>
      <div class="views">
        {layer.on_grid && (
          <div class="panel">
            <h3>Query: {shown.queryName(query)}</h3>
            <DigitMap {...map} label="Tokens: choose the query" ink={ink} address={ink ? undefined : data.address} weights={row} />
            <p class="small">Lines lead to the patches that it attends to. Choose another query by pointer or arrow keys.</p>
          </div>
        )}
        {(!layer.on_grid || isDense(layout)) && (
          <div class="panel">
            <h3>Weights of {shown.queryName(query)}</h3>
            <DigitMap {...map} class="weights" label="Weights of the query" tint={(token) => colour(row[token])} values={(token) => percent(row[token])} />
            {!layer.on_grid && <p class="small">In order, not as in the picture.</p>}
          </div>
        )}
        <div class="panel">
          <h3>The whole matrix</h3>
          <Matrix
            label="Rows are queries, columns are keys"
            rows={layer.queries.map((token) => (isSquare(layer) ? tokenShort(token, layout) : String(token + 1)))}
            columns={Array.from(row, (_, token) => tokenShort(token, layout))}
            colourAt={(q, k) => colour(matrix[q * layer.keys + k])}
            nameAt={(q, k) => pairLabel(shown.queryName(layer.queries[q]), shown.keyName(k), matrix[q * layer.keys + k], even)}
            chosen={[place, key]}
            shown={[pair.query, pair.key]}
            drawn={`${title} ${chosen.scale}`}
            choose={(q, k) => choose({ query: layer.queries[q], key: k })}
            hover={(at) => setHover(at && { query: at[0], key: at[1] })}
          />
        </div>
        <div class="panel">
          <h3>Every layer and head</h3>
          <Heads {...props} />
          <p class="small">The same query in each, on one scale: {title.split(",")[0]} is {layer.name}.</p>
        </div>
      </div>
      <div class="row">
        <TableButton text="Table of this query" {...queryTable(props, layer)} />
        <TableButton text="Table of the matrix" {...matrixTable(props, layer)} />
        <TableButton text="Table of all heads" {...headsTable(props)} />
      </div>
    </section>
  );
}

/** The effect of masking a patch, measured on the model. */
function Masked({ data, layer, token }: Props & { layer: Layer; token: number }) {
  const patch = token - (data.grid?.prefix.length ?? 0);
  const fall = data.influence.masking.values?.[patch];
  if (fall === undefined || !layer.on_grid || patch < 0) return null;
  const [name, before] = data.classes.reduce((best, one) => (one[1] > best[1] ? one : best));
  return (
    <>
      {" "}
      When no token may attend to {tokenName(token, layoutOf(data, layer))}, in any layer, the probability of {name} goes from {change(before, before - fall)}.
    </>
  );
}

/** One query in every head. */
function Heads(props: Props) {
  const { data, chosen, choose } = props;
  const places = data.layers.flatMap(({ heads }, layer) => Array.from({ length: heads }, (_, head): [number, number] => [layer, head]));
  const next = (event: KeyboardEvent, place: number): number | null => {
    const to = moved(event, places[place], data.layers.length, data.layers[chosen.layer].heads);
    return to && places.findLastIndex(([layer, head]) => layer === to[0] && head <= to[1]);
  };
  const pick = (place: number): void => choose({ layer: places[place][0], head: places[place][1], key: null });
  return (
    <div role="grid" id="heads" aria-label="Layers and heads" {...gridEvents({ name: "place", next, choose: pick })}>
      {data.layers.map((layer, i) => (
        <div role="row" key={i}>
          <span role="rowheader" title={layer.name}>L{data.names.indexOf(layer.name) + 1}</span>
          {Array.from({ length: layer.heads }, (_, head) => {
            const { row, layout, keyName, even } = headOf(props, layer, head);
            const isNow = i === chosen.layer && head === chosen.head;
            const best = argmax(row);
            const name = headName(data.names.indexOf(layer.name), head);
            return (
              <div
                role="gridcell"
                key={head}
                data-place={places.findIndex((one) => one[0] === i && one[1] === head)}
                class={`thumb ${isNow ? "now" : ""}`}
                tabIndex={isNow ? 0 : -1}
                aria-selected={isNow}
                aria-label={`${name}: attends most to ${keyName(best)}, ${percent(row[best])}`}
                title={name}
              >
                <TintedCanvas prefix config={layout} ink={layer.on_grid ? props.ink : null} colours={Array.from(row, (weight) => weightColour(weight, chosen.scale, even, 1))} />
              </div>
            );
          })}
        </div>
      ))}
    </div>
  );
}

function queryTable(props: Props, layer: Layer): TableData {
  const { title, row, even, query, keyName, queryName, layout } = headOf(props, layer, props.chosen.head);
  const masking = layer.on_grid ? props.data.influence.masking.values : null;
  const order = row.length > MAX_ROWS ? ranked(row).slice(0, MAX_ROWS) : Array.from(row, (_, token) => token);
  const rest = 1 - order.reduce((sum, token) => sum + row[token], 0);
  const changeOf = (token: number): string => (token < layout.numPrefixTokens || !masking ? "" : points(-masking[token - layout.numPrefixTokens]));
  return {
    caption: `Weights of ${queryName(query)}, ${title}`,
    columns: ["key", "weight", "× uniform", ...(masking ? ["if masked, points"] : [])],
    rows: () => [
      ...order.map((token) => [keyName(token), percent(row[token]), multiple(row[token] / even), ...(masking ? [changeOf(token)] : [])]),
      ...(order.length < row.length ? [[`${row.length - order.length} others, together`, percent(Math.max(0, rest)), ""]] : []),
    ],
  };
}

/** The whole matrix; where it is too wide, the three largest weights of every query. */
function matrixTable(props: Props, layer: Layer): TableData {
  const { title, matrix, keyName, queryName } = headOf(props, layer, props.chosen.head);
  const { keys, queries } = layer;
  const isWide = keys > MAX_COLUMNS;
  const largest = (weights: Float64Array): string[] => ranked(weights).slice(0, 3).map((key) => `${keyName(key)}: ${percent(weights[key])}`);
  return {
    caption: `Attention matrix, ${title}`,
    columns: isWide ? ["query", "largest", "second", "third"] : ["query ↓ · key →", ...Array.from({ length: keys }, (_, key) => keyName(key))],
    rows: () =>
      queries.map((query, place) => {
        const weights = row(matrix, place, keys);
        return [queryName(query), ...(isWide ? largest(weights) : Array.from(weights, percent))];
      }),
  };
}

function headsTable(props: Props): TableData {
  const { data, chosen } = props;
  const { query, queryName } = headOf(props, data.layers[chosen.layer], chosen.head);
  return {
    caption: `Largest weight of ${queryName(query)} in every head`,
    columns: ["head", "key", "weight", "× uniform"],
    rows: () =>
      data.layers.flatMap((layer) =>
        Array.from({ length: layer.heads }, (_, head) => {
          const { row: weights, title, keyName, even } = headOf(props, layer, head);
          const best = argmax(weights);
          return [title, keyName(best), percent(weights[best]), multiple(weights[best] / even)];
        }),
      ),
  };
}
