// A matrix of queries and keys.

import { GROUND, NumberCanvas } from "../draw/canvas";
import { css, isLight, type Colour } from "../draw/colours";
import { gridEvents, moved, within } from "./grid";

interface Props {
  label: string;
  rows: string[]; // short names of the queries
  columns: string[]; // and of the keys
  colourAt: (row: number, column: number) => Colour | null;
  textAt?: (row: number, column: number) => string;
  nameAt: (row: number, column: number) => string; // for assistive technology
  chosen: [number, number];
  shown?: [number, number]; // under the pointer; by default the chosen entry
  blank?: boolean[]; // columns and rows of blank patches
  choose: (row: number, column: number) => void;
  hover?: (place: [number, number] | null) => void;
  drawn?: unknown; // a change of this draws a matrix of many entries again
  class?: string;
}

const MAX_CELLS = 65 * 65; // more are drawn on a canvas

export function Matrix(props: Props) {
  return props.rows.length * props.columns.length > MAX_CELLS ? <CanvasMatrix {...props} /> : <CellMatrix {...props} />;
}

/** Of many entries only the chosen one is an element. */
export function CanvasMatrix({ label, rows, columns, chosen, shown = chosen, drawn, colourAt, nameAt, choose, hover, class: name = "" }: Props) {
  const [row, column] = chosen;
  const placeOf = (event: MouseEvent): [number, number] => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const place = (at: number, length: number): number => within(Math.floor(at * length), length);
    return [place((event.clientY - box.top) / box.height, rows.length), place((event.clientX - box.left) / box.width, columns.length)];
  };
  const share = (part: number, whole: number): string => `${(100 * part) / whole}%`;
  return (
    <div
      role="grid"
      aria-label={label}
      aria-rowcount={rows.length}
      aria-colcount={columns.length}
      class={`matrix-canvas ${name}`}
      onClick={(event) => choose(...placeOf(event))}
      onPointerMove={hover && ((event: PointerEvent) => hover(placeOf(event)))}
      onPointerLeave={hover && (() => hover(null))}
      onKeyDown={(event) => {
        const next = moved(event, chosen, rows.length, columns.length);
        if (next === null) return;
        event.preventDefault();
        choose(...next);
      }}
    >
      <NumberCanvas
        width={columns.length}
        height={rows.length}
        values={drawn}
        colourAt={(i) => colourAt(Math.floor(i / columns.length), i % columns.length) ?? GROUND}
      />
      <div role="row" aria-rowindex={row + 1} class="now" style={{ top: share(shown[0], rows.length), height: share(1, rows.length) }}>
        <div
          role="gridcell"
          tabIndex={0}
          aria-selected
          aria-colindex={column + 1}
          aria-label={nameAt(row, column)}
          style={{ left: share(shown[1], columns.length), width: share(1, columns.length) }}
        />
      </div>
    </div>
  );
}

function CellMatrix(props: Props) {
  const { rows, columns, chosen, shown = chosen, blank = [], choose, hover } = props;
  const placeOf = (index: number): [number, number] => [Math.floor(index / columns.length), index % columns.length];
  const head = (text: string, i: number, axis: 0 | 1) => (
    <div
      role={axis === 0 ? "rowheader" : "columnheader"}
      class={`head ${shown[axis] === i ? "now" : ""} ${blank[i] ? "blank" : ""}`}
      title={text.length > 6 ? text : undefined}
    >
      <span>{text}</span>
    </div>
  );
  return (
    <div
      role="grid"
      aria-label={props.label}
      class={`matrix ${props.class ?? ""}`}
      style={{ "--columns": columns.length }}
      {...gridEvents({
        name: "place",
        choose: (index) => choose(...placeOf(index)),
        hover: hover && ((index) => hover(index === null ? null : placeOf(index))),
      })}
    >
      <div role="row" class="line">
        <div role="columnheader" class="head">q\k</div>
        {columns.map((text, i) => head(text, i, 1))}
      </div>
      {rows.map((text, row) => (
        <div role="row" class={`line ${shown[0] === row ? "now" : ""}`} key={row}>
          {head(text, row, 0)}
          {columns.map((_, column) => {
            const colour = props.colourAt(row, column);
            const isChosen = chosen[0] === row && chosen[1] === column;
            const isShown = shown[0] === row && shown[1] === column;
            return (
              <div
                role="gridcell"
                key={column}
                data-place={row * columns.length + column}
                tabIndex={isChosen ? 0 : -1}
                aria-selected={isChosen}
                aria-label={props.nameAt(row, column)}
                class={`cell ${colour && isLight(colour) ? "light" : "dark"} ${isShown ? "chosen" : ""}`}
                style={colour ? { backgroundColor: css(colour) } : undefined}
              >
                {props.textAt?.(row, column)}
              </div>
            );
          })}
        </div>
      ))}
    </div>
  );
}
