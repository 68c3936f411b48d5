// The model input with its numbered patches, and arcs from the query to the patches it attends to.

import type { ComponentChildren } from "preact";

import { InkCanvas, TintedCanvas } from "../draw/canvas";
import { css, shareColour, signedColour, weightColour, type Colour, type ScaleMode } from "../draw/colours";
import { arcs, isDense, middle, prefixColumns, tokenName, tokenShort, type Arc, type Layout } from "../draw/geometry";
import { decimal, percent } from "../draw/numbers";
import type { TableData } from "./controls";
import { gridEvents } from "./grid";

interface Props {
  label: string;
  config: Layout;
  ink?: Float64Array | null; // the model input, or its address below
  address?: string;
  blank: boolean[];
  chosen: number; // token with the tab stop: the query, or what is being chosen
  query?: number | null; // where arcs begin
  key_?: number | null; // the key token that is marked
  weights?: ArrayLike<number> | null; // of the query's row
  lines?: Arc[]; // instead of arcs from the query
  flows?: number; // a change of this sends a pulse through all lines
  values?: (token: number) => string; // written into the patches
  tint?: (token: number) => Colour; // of a patch below the ink, or of a frame around a patch of a photo
  nameAt?: (token: number) => string; // for assistive technology
  choose: (token: number) => void;
  hover?: (token: number | null) => void;
  class?: string;
}

export function DigitMap(props: Props) {
  const { config, ink, address, blank, chosen, query = null, weights = null, tint, choose, hover } = props;
  const { grid: [rows, columns], imageShape: [high, wide] } = config;
  const first = config.numPrefixTokens;
  const even = 1 / config.tokens;
  const isPicture = config.inChannels >= 3 && !!(ink ?? address); // lines need a casing on bright colours
  const dense = isDense(config);
  const shown = props.lines ? props.lines : query !== null && weights ? arcs(query, weights, config, dense ? Math.max(4 * even, 0.02) : even / 2) : [];
  const cell = (token: number) => token < config.tokens && (
    <div
      role="gridcell"
      key={token}
      data-token={token}
      tabIndex={token === chosen ? 0 : -1}
      aria-selected={token === chosen}
      aria-label={props.nameAt?.(token) ?? tokenName(token, config)}
      class={`patch ${blank[token - first] ? "blank" : ""} ${token === query ? "query" : ""} ${token === props.key_ ? "key" : ""}`}
      style={tint && (isPicture || token < first) ? { "--tint": css(tint(token)) } : undefined}
    >
      {(!dense || token < first) && <span class="number">{token < first ? tokenName(token, config).replace(" token", "") : tokenShort(token, config)}</span>}
      {" "}
      {props.values && (!dense || token < first) && <span class="value">{props.values(token)}</span>}
      {token < first && weights && <span class="value">{percent(weights[token])}</span>}
    </div>
  );
  return (
    <div class={`digit-map ${dense ? "dense" : ""} ${tint ? (isPicture ? "framed" : "tinted") : ""} ${first ? "with-prefix" : ""} ${props.class ?? ""}`} style={{ "--columns": columns, maxWidth: wide < high ? `${(100 * wide) / high}%` : undefined }}>
      <div class="field" style={{ aspectRatio: `${wide} / ${high}` }}>
        {tint && !isPicture ? (
          <TintedCanvas config={config} ink={ink} colours={Array.from({ length: config.tokens }, (_, token) => tint(token))} />
        ) : (
          ink && <InkCanvas ink={ink} config={config} />
        )}
        {address && <img src={address} alt="" />}
        <svg class="arcs" viewBox={`0 0 ${columns} ${rows}`} aria-hidden="true">
          <Arcs shown={shown} start={query !== null && weights ? middle(query, config) : null} marked={props.key_} isBright={isPicture} flows={props.flows} from={dense || props.lines ? Infinity : 1.6 * even} />
        </svg>
      </div>
      <div
        role="grid"
        aria-label={props.label}
        class="patches"
        {...gridEvents({ name: "token", choose, hover, isPicker: true })}
      >
        {first > 0 && (
          <div role="row" class="prefix" style={{ "--columns": prefixColumns(config) }}>
            {Array.from({ length: first }, (_, token) => cell(token))}
          </div>
        )}
        {Array.from({ length: rows }, (_, row) => (
          <div role="row" class="line" key={row}>
            {Array.from({ length: columns }, (_, column) => cell(first + row * columns + column))}
          </div>
        ))}
      </div>
    </div>
  );
}

interface ArcsProps {
  shown: Arc[];
  start: [number, number] | null; // the middle of the query patch
  from: number; // weights from here on are written
  marked?: number | null; // a key token
  isBright?: boolean; // whether the background may be bright
  flows?: number;
}

/** Lines to key patches, as wide and bright as their weights; units are patches. */
export function Arcs({ shown, start, from, marked, isBright, flows }: ArcsProps) {
  return (
    <>
      {shown.map(({ token, path, width, weight, end }) => {
        const colour = css(shareColour(Math.max(weight, isBright ? 0.6 : 0.16)));
        return (
          <g key={`${flows} ${token} ${path}`} class={token === marked ? "marked" : ""} style={{ opacity: 0.35 + 0.65 * Math.sqrt(weight) }} fill="none" stroke-linecap="round">
            {path && isBright && <path d={path} pathLength={1} stroke="#000000" stroke-opacity={0.55} stroke-width={width + 0.04} />}
            {path && <path class="arc" d={path} pathLength={1} stroke={colour} stroke-width={width} />}
            {path && flows && <path class="pulse" d={path} pathLength={1} />}
            <circle cx={end[0]} cy={end[1]} r={Math.max(0.05, width * 0.72)} fill={colour} />
          </g>
        );
      })}
      {start && <circle cx={start[0]} cy={start[1]} r={0.13} fill="#0d1117" stroke="#ffffff" stroke-width={0.055} />}
      <g fill="#ffffff" stroke="#000000" stroke-width={0.045} paint-order="stroke" font-size={0.185} font-weight={650} text-anchor="middle">
        {shown.filter(({ weight }) => weight >= from).map(({ token, weight, end }) => (
          <text key={token} x={end[0]} y={end[1] + 0.4}>{decimal(weight * 100, 0)}%</text>
        ))}
      </g>
    </>
  );
}

/** One number for each token: shares of 100 %, or signed numbers with their domain. */
export interface Measure {
  id?: string;
  title: string;
  note: string;
  unit: string;
  values: ArrayLike<number>;
  domain?: number; // of signed numbers
  write: (value: number) => string; // in tables; on maps, shares are whole per cents
}

type MapProps = Pick<Props, "config" | "ink" | "address" | "blank" | "chosen" | "choose">;

/** A measure of every patch, over the picture. */
export function MeasureMap({ id, title, note, values, domain, write, scale = "fixed", children, ...map }: Measure & MapProps & { scale?: ScaleMode; children?: ComponentChildren }) {
  const { config } = map;
  const written = (token: number): string => (domain ? write(values[token]) : decimal(values[token] * 100, 0));
  return (
    <figure id={id}>
      <figcaption>
        <b>{title}</b> <span class="small">{note}</span>
      </figcaption>
      <DigitMap
        {...map}
        class={domain ? "signed" : ""}
        label={title}
        values={written}
        tint={(token) => (domain ? signedColour(values[token], domain) : weightColour(values[token], scale, 1 / config.tokens, 1))}
        nameAt={(token) => `${tokenName(token, config)}: ${written(token)}${domain ? "" : " percent"}`}
      />
      {children}
    </figure>
  );
}

export function measureTable(caption: string, measures: Measure[], config: Layout): TableData {
  return {
    caption,
    columns: ["token", ...measures.map(({ title, unit }) => `${title}, ${unit}`)],
    rows: () => Array.from({ length: config.tokens }, (_, token) => [tokenName(token, config), ...measures.map(({ values, write }) => write(values[token]))]),
  };
}
