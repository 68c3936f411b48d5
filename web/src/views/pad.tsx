// The pad: drawing by pointer, by tapping points, or by keyboard.

import { useEffect, useRef, useState } from "preact/hooks";

import { InkCanvas } from "../draw/canvas";
import { labelOf } from "../engine/predict";
import { around, type Box } from "../preprocess/pixels";
import { boxOf, CANVAS, digitsOf, PEN, extended, onCanvas, type Point, type Stroke } from "../preprocess/strokes";
import { store } from "../state/store";
import { sayPrediction } from "./frame";

const STEP = CANVAS / 28; // an arrow key moves the pen by one pixel of the model input
const LOW = 20; // units; above a box that begins higher, there is no room for its label
const FAR = 4; // times as far with Shift
const ARROWS: Record<string, Point> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function Pad() {
  const { strokes, images } = store.drawn.value ? { strokes: store.drawn.value, images: [] } : store.state.value;
  const photo = store.drawn.value ? null : store.picture.value.photo;
  const isPicture = photo !== null || images.length > 0; // a photo may have no digit
  const svg = useRef<SVGSVGElement>(null);
  const [cursor, setCursor] = useState<{ at: Point; down: boolean } | null>(null);
  const [tapping, setTapping] = useState(false);
  const tool = useRef({ pointer: -1, line: false, cleared: [] as Stroke[] }).current;
  const isExample = store.payload.examples.some((example) => example.strokes === strokes);
  const now = (): Stroke[] => store.drawn.peek() ?? store.state.peek().strokes;
  const put = (changed: Stroke[]): void => store.draw(changed, tool.pointer >= 0);
  const begin = (point: Point): void => put([...(isExample || images.length ? [] : now()), [onCanvas(point)]]);
  const draw = (point: Point): void => {
    const strokes = now();
    const last = strokes[strokes.length - 1] ?? [];
    const longer = extended(last, point);
    if (longer !== last) put([...strokes.slice(0, -1), longer]);
  };
  const pointOf = (event: PointerEvent): Point => {
    const box = svg.current!.getBoundingClientRect();
    return [((event.clientX - box.left) * CANVAS) / box.width, ((event.clientY - box.top) * CANVAS) / box.height];
  };
  const onPointerDown = (event: PointerEvent): void => {
    if (tool.pointer >= 0 || event.button !== 0) return;
    svg.current?.focus({ preventScroll: true });
    setCursor(null);
    if (tapping) {
      if (tool.line) draw(pointOf(event));
      else begin(pointOf(event));
      tool.line = true;
      return;
    }
    tool.pointer = event.pointerId;
    svg.current?.setPointerCapture(event.pointerId);
    begin(pointOf(event));
  };
  const onPointerMove = (event: PointerEvent): void => {
    if (event.pointerId !== tool.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) draw(pointOf(one));
  };
  useEffect(() => () => { // a stroke ends when the pad is closed in the middle of it
    if (store.drawn.peek()) store.draw(now());
  }, []);
  const lift = (event: PointerEvent): void => {
    if (event.pointerId !== tool.pointer) return;
    tool.pointer = -1;
    put(now());
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const pen = cursor ?? { at: [140, 60] as Point, down: false };
    const arrow = ARROWS[event.key];
    if (arrow) {
      const far = STEP * (event.shiftKey ? FAR : 1);
      const at = onCanvas([pen.at[0] + arrow[0] * far, pen.at[1] + arrow[1] * far]);
      if (pen.down) draw(at);
      move({ at, down: pen.down });
    } else if (event.key === " ") {
      if (!pen.down) begin(pen.at);
      move({ at: pen.at, down: !pen.down });
      if (pen.down) sayPrediction("Pen up. ");
    } else if (event.key === "Backspace") undo();
    else if (event.key === "Escape") {
      setCursor(null);
      store.say("Left the pad.");
      svg.current?.closest(".pad-holder")?.querySelector("button")?.focus();
    } else return;
    event.preventDefault();
  };
  const move = (pen: { at: Point; down: boolean }): void => {
    setCursor(pen);
    const [column, row] = pen.at.map((value) => Math.floor(value / STEP) + 1);
    store.say(`Pen ${pen.down ? "down" : "up"}, column ${column}, row ${row} of 28`);
  };
  const undo = (): void => {
    tool.line = false;
    if (strokes.length === 0 && tool.cleared.length === 0) return;
    put(strokes.length ? strokes.slice(0, -1) : tool.cleared);
    store.say(strokes.length ? "Stroke removed." : "Drawing restored.");
    tool.cleared = [];
  };
  const clear = (): void => {
    tool.line = false;
    if (strokes.length) tool.cleared = strokes;
    put([]);
    store.say(isPicture ? "Picture removed." : "Pad cleared. Undo restores the drawing.");
  };
  return (
    <div class="pad-holder">
      <div class={`pad-field ${images.length ? "" : "drawn"}`}>
        <svg
          ref={svg}
          class="pad"
          viewBox={`0 0 ${CANVAS} ${CANVAS}`}
          tabIndex={0}
          role="application"
          aria-label="Drawing pad"
          aria-describedby="pad-help"
          onPointerDown={onPointerDown}
          onPointerMove={onPointerMove}
          onPointerUp={lift}
          onPointerCancel={lift}
          onKeyDown={onKeyDown}
          onFocus={(event) => {
            if (event.currentTarget.matches(":focus-visible")) setCursor({ at: [140, 60], down: false });
          }}
          onBlur={() => setCursor(null)}
        >
          {photo ? (
            <image href={photo.address} width={CANVAS} height={CANVAS} />
          ) : images.length > 0 ? (
            <foreignObject width={CANVAS} height={CANVAS} class="opened">
              <InkCanvas ink={store.result.value.ink} config={store.config} />
            </foreignObject>
          ) : (
            <Strokes strokes={strokes} />
          )}
          {(strokes.length === 0 || isExample || isPicture) && (
            <text class={`pad-hint ${strokes.length || isPicture ? "low" : ""}`} x={CANVAS / 2} y={strokes.length || isPicture ? CANVAS - 10 : CANVAS / 2}>
              {isPicture ? "A picture is open. Draw to replace it" : strokes.length ? "Draw your own over it" : "Draw a digit here"}
            </text>
          )}
          {cursor && <circle class={`pen ${cursor.down ? "down" : ""}`} cx={cursor.at[0]} cy={cursor.at[1]} r={PEN / 2} />}
        </svg>
        {!store.drawn.value && <Boxes boxes={photo ? photo.boxes : images.length ? [] : digitsOf(strokes).map((digit) => around(boxOf(digit)!, PEN / 2))} />}
      </div>
      <div class="pad-tools">
        <button type="button" disabled={strokes.length === 0 && tool.cleared.length === 0} onClick={undo}>Undo</button>
        <button type="button" disabled={strokes.length === 0 && !isPicture} onClick={clear}>{isPicture ? "Remove picture" : "Clear"}</button>
        <button
          type="button"
          aria-pressed={tapping}
          title="Tap one point after another; lines join them"
          onClick={() => {
            tool.line = false;
            setTapping(!tapping);
          }}
        >
          Tap points
        </button>
      </div>
      <p id="pad-help" class={cursor ? "small" : "hidden"}>
        Arrow keys move the pen, with Shift four times as far. Space lowers or lifts it. Backspace removes a stroke. Escape leaves the pad.
      </p>
    </div>
  );
}

/** Boxes around the digits of the pad with their predictions, if there are several; a click chooses the one that the steps show. */
function Boxes({ boxes }: { boxes: Box[] }) {
  const { config, result } = store;
  const { predictions, digit } = result.value;
  if (boxes.length < 2 || boxes.length !== predictions.length) return null;
  const place = (part: number): string => `${(100 * part) / CANVAS}%`;
  return (
    <>
      {boxes.map(([left, top, right, bottom], i) => {
        const label = labelOf([predictions[i]], config.classNames, true);
        return (
          <button
            type="button"
            key={i}
            class={`box ${top < LOW ? "low" : ""}`}
            aria-label={`Digit ${i + 1} of ${boxes.length}: ${label === "?" ? "not recognised" : label}`}
            aria-pressed={i === digit}
            style={{ left: place(left), top: place(top), width: place(right - left), height: place(bottom - top) }}
            onClick={() => store.set({ digit: i })}
          >
            <span>{label}</span>
          </button>
        );
      })}
    </>
  );
}

/** A picture of a drawing. */
export function Drawing({ strokes, label }: { strokes: Stroke[]; label?: string }) {
  return (
    <svg class="slide" viewBox={`0 0 ${CANVAS} ${CANVAS}`} role="img" aria-label={label} aria-hidden={!label}>
      <Strokes strokes={strokes} />
    </svg>
  );
}

/** A drawing, as on the pad. */
function Strokes({ strokes }: { strokes: Stroke[] }) {
  return (
    <g class="strokes" stroke-width={PEN}>
      {strokes.map((stroke, i) => (
        <polyline key={i} points={(stroke.length === 1 ? [stroke[0], [stroke[0][0] + 0.1, stroke[0][1]]] : stroke).join(" ")} />
      ))}
    </g>
  );
}
