// The model input with its numbered patches, and arcs from the query patch to the patches it attends to.

import type { ComponentChildren } from "preact";

import { css, shareColour } from "../draw/colours";
import { InkCanvas } from "../draw/canvas";
import { arcs, middle, tokenName, tokenShort } from "../draw/geometry";
import { decimal } from "../draw/numbers";
import type { Config } from "../engine/config";
import { focusAt, moved } from "./roving";

interface Props {
  label: string;
  config: Config;
  ink: Float64Array;
  blank: boolean[];
  chosen: number; // token with the tab stop: the query, or what is being chosen
  query?: number | null; // where arcs begin
  key_?: number | null; // the key token that is marked
  weights?: ArrayLike<number> | null; // of the query's row
  values?: (token: number) => string; // written into the patches
  tint?: (token: number) => string | null; // colour of a frame around a patch
  nameAt?: (token: number) => string; // for assistive technology
  selected?: (token: number) => boolean;
  choose: (token: number) => void;
  hover?: (token: number | null) => void;
  class?: string;
  children?: ComponentChildren;
}

export function DigitMap(props: Props) {
  const { config, ink, blank, chosen, query = null, weights = null, choose, hover } = props;
  const [rows, columns] = config.grid;
  const first = config.numPrefixTokens;
  const even = 1 / config.tokens;
  const isPicture = config.inChannels >= 3; // lines need a casing on bright colours
  const selected = props.selected ?? ((token: number) => token === chosen);
  const tokenAt = (target: EventTarget | null): number | null => {
    const token = (target as Element | null)?.closest?.<HTMLElement>("[data-token]")?.dataset.token;
    return token === undefined ? null : Number(token);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const token = tokenAt(event.target) ?? chosen;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(token);
      return;
    }
    const patch = Math.max(0, token - first);
    const next = moved(event, [Math.floor(patch / columns), patch % columns], rows, columns);
    if (next === null) return;
    event.preventDefault();
    focusAt(event.currentTarget as Element, "[data-token]", first + next[0] * columns + next[1]);
  };
  const shown = query !== null && weights ? arcs(query, weights, config, even / 2) : [];
  const cell = (token: number) => (
    <div
      role="gridcell"
      key={token}
      data-token={token}
      tabIndex={token === chosen ? 0 : -1}
      aria-selected={selected(token)}
      aria-label={props.nameAt?.(token) ?? tokenName(token, config)}
      class={[
        "patch",
        blank[token - first] ? "blank" : "",
        token === query ? "query" : "",
        token === props.key_ ? "key" : "",
        token < first ? "class-token" : "",
      ].join(" ")}
      style={props.tint ? { "--tint": props.tint(token) ?? "transparent" } : undefined}
    >
      <span class="number">{token < first ? "class" : tokenShort(token, config)}</span>
      {props.values ? <span class="value">{props.values(token)}</span> : null}
    </div>
  );
  return (
    <div class={`digit-map ${props.class ?? ""}`} style={{ "--rows": rows, "--columns": columns, aspectRatio: `${config.imageShape[1]} / ${config.imageShape[0]}` }}>
      <InkCanvas ink={ink} config={config} />
      <svg class="arcs" viewBox={`0 0 ${columns} ${rows}`} aria-hidden="true">
        {shown.map(({ token, path, width, weight, end }) => {
          const colour = css(shareColour(Math.max(weight, isPicture ? 0.6 : 0.16)));
          return (
            <g key={`${query} ${token}`} class={token === props.key_ ? "marked" : ""} style={{ opacity: 0.35 + 0.65 * Math.sqrt(weight) }}>
              {path && isPicture && <path class="casing" d={path} pathLength={1} stroke-width={width + 0.04} />}
              {path && <path class="arc" d={path} pathLength={1} stroke={colour} stroke-width={width} />}
              <circle cx={end[0]} cy={end[1]} r={Math.max(0.05, width * 0.72)} fill={colour} />
            </g>
          );
        })}
        {query !== null && weights && <circle class="start" cx={middle(query, config)[0]} cy={middle(query, config)[1]} r={0.13} />}
        {query !== null && weights &&
          shown
            .filter(({ weight }) => weight >= 1.6 * even)
            .map(({ token, weight, end }) => (
              <text key={token} x={end[0]} y={end[1] + 0.4} class="percent">
                {decimal(weight * 100, 0)}%
              </text>
            ))}
      </svg>
      <div
        role="grid"
        aria-label={props.label}
        class="patches"
        onClick={(event) => {
          const token = tokenAt(event.target);
          if (token !== null) choose(token);
        }}
        onKeyDown={onKeyDown}
        onPointerOver={hover && ((event: PointerEvent) => hover(tokenAt(event.target)))}
        onPointerLeave={hover && (() => hover(null))}
        onFocusIn={hover && ((event: FocusEvent) => hover(tokenAt(event.target)))}
        onFocusOut={hover && (() => hover(null))}
      >
        {first > 0 && (
          <div role="row" class="line">
            {cell(0)}
          </div>
        )}
        {Array.from({ length: rows }, (_, row) => (
          <div role="row" class="line" key={row}>
            {Array.from({ length: columns }, (_, column) => cell(first + row * columns + column))}
          </div>
        ))}
      </div>
      {props.children}
    </div>
  );
}
