// The canvas: drawing by pointer, by tapping points, or by keyboard.

import { el, setAttribute, setText } from "../element.js";
import { STRINGS } from "../strings.js";
import { CANVAS, extended, onCanvas } from "../strokes.js";
import { pen } from "./canvas.js";
import { createToggle } from "./choice.js";

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../strokes.js").Stroke} Stroke */
/** @typedef {import("../strokes.js").Point} Point */

const STEP = CANVAS / 28; // an arrow key moves the pen by one pixel of the model input
const FAR = 4; // times as far with Shift
const LINE = 22; // width of the drawn line in units
const INK = "#14181f"; // in the light theme
const ARROWS = /** @type {Record<string, Point>} */ ({
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
});

/**
 * @param {App} app
 * @param {"strokes" | "second"} which
 * @param {string} name
 */
export function createPad(app, which, name) {
  const words = STRINGS.draw;
  const helpId = `help-${which}`;
  const canvas = el("canvas", {
    width: CANVAS,
    height: CANVAS,
    class: "pad",
    tabindex: 0,
    role: "application",
    "aria-label": `${name}: ${words.canvas}`,
    "aria-describedby": helpId,
  });
  const hint = el("p", { class: "pad-hint", "aria-hidden": "true" }, words.empty);
  /** @type {{down: boolean, at: Point, shown: boolean, tapping: boolean, pointer: number | null, line: boolean, cleared: Stroke[]}} */
  const tool = { down: false, at: [140, 60], shown: false, tapping: false, pointer: null, line: false, cleared: [] };

  /** @param {Stroke[]} strokes */
  const put = (strokes) => app.set(which === "strokes" ? { strokes } : { second: strokes });
  /** @param {Point} point @param {boolean} begin */
  const draw = (point, begin) => {
    const strokes = app.state[which];
    if (begin) return put([...strokes, [onCanvas(point)]]);
    const last = strokes[strokes.length - 1] ?? [];
    const longer = extended(last, point);
    if (longer !== last) put([...strokes.slice(0, -1), longer]);
  };
  /** @param {PointerEvent} event @returns {Point} */
  const pointOf = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = CANVAS / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const endLine = () => {
    tool.line = false;
    tool.down = false;
  };
  const undo = () => {
    endLine();
    const strokes = app.state[which];
    if (strokes.length === 0 && tool.cleared.length === 0) return;
    app.announce(strokes.length ? words.undone : words.back);
    put(strokes.length ? strokes.slice(0, -1) : tool.cleared);
    tool.cleared = [];
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (tool.pointer !== null || event.button !== 0) return;
    canvas.focus({ preventScroll: true });
    tool.shown = false;
    tool.down = false;
    if (tool.tapping) {
      draw(pointOf(event), !tool.line);
      tool.line = true;
      return;
    }
    tool.pointer = event.pointerId;
    canvas.setPointerCapture(event.pointerId);
    app.setDrawing(true);
    draw(pointOf(event), true);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== tool.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) draw(pointOf(one), false);
  });
  /** @param {PointerEvent} event */
  const lift = (event) => {
    if (event.pointerId !== tool.pointer) return;
    tool.pointer = null;
    app.setDrawing(false);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (arrow) {
      const far = STEP * (event.shiftKey ? FAR : 1);
      tool.at = onCanvas([tool.at[0] + arrow[0] * far, tool.at[1] + arrow[1] * far]);
      if (tool.down) draw(tool.at, false);
    } else if (event.key === " ") {
      tool.down = !tool.down;
      if (tool.down) draw(tool.at, true);
    } else if (event.key === "Backspace") undo();
    else if (event.key === "Escape") {
      endLine();
      tool.shown = false;
      app.announce(words.left);
      undoButton.focus();
    } else return;
    event.preventDefault();
    tool.shown = event.key !== "Escape";
    if (event.key !== "Backspace" && event.key !== "Escape") app.announce(placeWords(), "place");
    update();
  });
  canvas.addEventListener("focus", () => {
    if (canvas.matches(":focus-visible")) tool.shown = true;
    update();
  });
  canvas.addEventListener("blur", () => {
    endLine();
    tool.shown = false;
    update();
  });

  const placeWords = () => {
    const [column, row] = tool.at.map((value) => Math.floor(value / STEP) + 1);
    return words.place(column, row, tool.down);
  };
  const undoButton = el("button", { type: "button", on: { click: undo } }, words.undo);
  const clearButton = el(
    "button",
    {
      type: "button",
      on: {
        click: () => {
          endLine();
          if (app.state[which].length) tool.cleared = app.state[which];
          put([]);
          app.announce(words.cleared);
        },
      },
    },
    words.clear,
  );
  const keys = el(
    "button",
    {
      type: "button",
      on: {
        click: () => {
          tool.shown = true;
          canvas.focus();
          update();
        },
      },
    },
    words.keys,
  );
  const tap = createToggle(words.tap, () => {
    tool.tapping = !tool.tapping;
    endLine();
    update();
  });
  const help = el("p", { class: "pad-help", id: helpId }, words.help);
  const buttons = el("div", { class: "buttons" }, undoButton, clearButton, keys, tap.element);
  const element = el(
    "div",
    { class: "pad-holder" },
    el("div", { class: "pad-frame" }, canvas, hint),
    buttons,
    help,
  );

  // Printed pages are light in either theme.
  addEventListener("beforeprint", () => drawStrokes(canvas, app.state[which], { ...tool, shown: false }, INK));
  addEventListener("afterprint", update);

  function update() {
    const strokes = app.state[which];
    drawStrokes(canvas, strokes, tool);
    hint.hidden = strokes.length > 0;
    if (strokes.length) tool.cleared = [];
    setAttribute(undoButton, "aria-disabled", strokes.length === 0 && tool.cleared.length === 0);
    tap.update(tool.tapping);
    setText(help, tool.tapping ? words.tapHelp : words.help);
    help.classList.toggle("shown", tool.shown || tool.tapping);
  }
  return { element, update };
}

/**
 * One stroke; a stroke of one point is drawn as a dot, because a line of length 0 is invisible.
 * @param {CanvasRenderingContext2D} context
 * @param {Stroke} stroke
 */
function drawStroke(context, stroke) {
  const [[x, y]] = stroke;
  context.beginPath();
  if (stroke.every((point) => point[0] === x && point[1] === y)) {
    context.arc(x, y, LINE / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  for (const point of stroke) context.lineTo(...point);
  context.stroke();
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Stroke[]} strokes
 * @param {{shown: boolean, down: boolean, at: Point}} tool
 * @param {string} [ink] instead of the theme's colour
 */
function drawStrokes(canvas, strokes, tool, ink) {
  const context = pen(canvas);
  const style = getComputedStyle(canvas);
  context.clearRect(0, 0, CANVAS, CANVAS);
  context.lineCap = "round";
  context.lineJoin = "round";
  context.lineWidth = LINE;
  context.strokeStyle = ink ?? style.color;
  context.fillStyle = ink ?? style.color;
  for (const stroke of strokes) drawStroke(context, stroke);
  if (!tool.shown) return;
  const [x, y] = tool.at;
  context.lineWidth = 3;
  context.strokeStyle = style.getPropertyValue("--accent");
  context.beginPath();
  context.arc(x, y, tool.down ? LINE / 2 : LINE, 0, 2 * Math.PI);
  context.moveTo(x - 6, y);
  context.lineTo(x + 6, y);
  context.moveTo(x, y - 6);
  context.lineTo(x, y + 6);
  context.stroke();
}
