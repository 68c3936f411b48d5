// A grid of cells with pointer and arrow key navigation, accessible cell by cell.

import { el, setAttribute, setText } from "../element.js";
import { css, isLight } from "../colours.js";

/** @typedef {import("../colours.js").Colour} Colour */

/**
 * @typedef {Object} GridCell
 * @property {Colour | null} colour null leaves the cell transparent
 * @property {string} [text] shown in the cell
 * @property {string} label for screen readers
 * @property {boolean} [selected] of cells that are toggled
 * @property {string} [mark] a class: blank, masked
 */

/**
 * @typedef {Object} GridOptions
 * @property {number} rows
 * @property {number} columns
 * @property {string} [className]
 * @property {string} [corner]
 * @property {{text: string, label: string}[]} [rowHeads]
 * @property {{text: string, label: string}[]} [columnHeads]
 * @property {(row: number, column: number) => void} [move] called when a cell is chosen
 * @property {(row: number, column: number) => void} [press] called when a cell is toggled
 * @property {boolean} [brush] whether dragging toggles cells
 * @property {boolean} [floating] whether texts are above the overlay
 */

const LONG = 8; // letters from which a head gets a title, because it may be cut

/** @param {GridOptions} options */
export function createGrid(options) {
  const { rows, columns, className = "", corner = "", rowHeads, columnHeads } = options;
  const cells = Array.from({ length: rows * columns }, () =>
    el("div", { role: "gridcell", tabindex: -1, class: "cell" }),
  );
  let place = [0, 0];

  const lines = Array.from({ length: rows }, (_, row) =>
    el(
      "div",
      { role: "row", class: "line" },
      rowHeads && head("rowheader", rowHeads[row]),
      ...cells.slice(row * columns, (row + 1) * columns),
    ),
  );
  const top =
    columnHeads &&
    el(
      "div",
      { role: "row", class: "line" },
      rowHeads && el("div", { role: "columnheader", class: "head corner" }, corner),
      ...columnHeads.map((one) => head("columnheader", one)),
    );
  const element = el("div", { role: "grid", class: `grid ${className}` }, top, ...lines);
  element.style.setProperty("--columns", String(columns));

  /** @param {number} row @param {number} column */
  const go = (row, column) => {
    place = [row, column];
    markTabStop();
    options.move?.(row, column);
  };
  /** @param {EventTarget | null} target */
  const indexOf = (target) => {
    const cell = /** @type {Element | null} */ (target)?.closest?.(".cell");
    return cell ? cells.indexOf(/** @type {HTMLDivElement} */ (cell)) : -1;
  };
  element.addEventListener("pointerdown", (event) => {
    const i = indexOf(event.target);
    if (i < 0) return;
    if (options.brush) cells[i].releasePointerCapture?.(event.pointerId);
    go(Math.floor(i / columns), i % columns);
    options.press?.(...at());
  });
  element.addEventListener("pointerover", (event) => {
    const i = indexOf(event.target);
    if (!options.brush || i < 0 || event.buttons !== 1) return;
    if (i === place[0] * columns + place[1]) return;
    go(Math.floor(i / columns), i % columns);
    options.press?.(...at());
  });
  element.addEventListener("keydown", (event) => {
    if (options.press && (event.key === " " || event.key === "Enter")) {
      event.preventDefault();
      options.press(...at());
      return;
    }
    const next = moved(event, place, rows, columns);
    if (next === null) return;
    event.preventDefault();
    go(...next);
    cells[place[0] * columns + place[1]].focus();
  });

  /** @returns {[number, number]} */
  function at() {
    return [place[0], place[1]];
  }

  function markTabStop() {
    cells.forEach((cell, i) => {
      setAttribute(cell, "tabindex", i === place[0] * columns + place[1] ? 0 : -1);
    });
  }

  /**
   * @param {{label: string, cells: GridCell[], chosen?: [number, number] | null, settled?: boolean, blankColumns?: boolean[]}} what
   */
  function update({ label, cells: shown, chosen = null, settled = true, blankColumns }) {
    setAttribute(element, "aria-label", label);
    if (chosen) place = [...chosen];
    markTabStop();
    shown.forEach(({ colour, text = "", label: name, selected, mark }, i) => {
      const cell = cells[i];
      const [row, column] = [Math.floor(i / columns), i % columns];
      cell.style.backgroundColor = colour ? css(colour) : "";
      const classes = ["cell"];
      if (colour) classes.push(isLight(colour) ? "light" : "dark");
      if (mark) classes.push(mark);
      if (chosen && chosen[0] === row && rowHeads) classes.push("in-row");
      if (chosen && chosen[1] === column && rowHeads) classes.push("in-column");
      if (chosen && chosen[0] === row && chosen[1] === column) classes.push("chosen");
      if (selected) classes.push("selected");
      if (cell.className !== classes.join(" ")) cell.className = classes.join(" ");
      if (options.floating) setAttribute(cell, "data-text", text || null);
      else setText(cell, text);
      if (!settled) return;
      setAttribute(cell, "aria-label", name);
      const on = selected ?? (chosen !== null && chosen[0] === row && chosen[1] === column);
      setAttribute(cell, "aria-selected", on);
    });
    if (top && rowHeads) {
      [...top.children].forEach((one, i) => {
        one.classList.toggle("now", chosen !== null && i - 1 === chosen[1]);
        one.classList.toggle("blank", Boolean(blankColumns?.[i - 1]));
      });
      lines.forEach((line, i) => {
        line.firstElementChild?.classList.toggle("now", chosen !== null && i === chosen[0]);
        line.firstElementChild?.classList.toggle("blank", Boolean(blankColumns?.[i]));
      });
    }
  }
  return { element, update, cells };
}

/**
 * @param {"rowheader" | "columnheader"} role
 * @param {{text: string, label: string}} what
 */
function head(role, { text, label }) {
  const cut = text.length > LONG;
  return el("div", { role, class: "head", "aria-label": label, title: cut ? label : null }, el("span", {}, text));
}

/**
 * The cell a key moves to; null for other keys.
 * @param {KeyboardEvent} event
 * @param {number[]} place
 * @param {number} rows
 * @param {number} columns
 * @returns {[number, number] | null}
 */
function moved(event, [row, column], rows, columns) {
  switch (event.key) {
    case "ArrowUp":
      return [Math.max(0, row - 1), column];
    case "ArrowDown":
      return [Math.min(rows - 1, row + 1), column];
    case "ArrowLeft":
      return [row, Math.max(0, column - 1)];
    case "ArrowRight":
      return [row, Math.min(columns - 1, column + 1)];
    case "Home":
      return [event.ctrlKey ? 0 : row, 0];
    case "End":
      return [event.ctrlKey ? rows - 1 : row, columns - 1];
    default:
      return null;
  }
}
