// A map with a button that shows its numbers as a table.

import { el, fill, setAttribute, setText } from "../element.js";
import { STRINGS } from "../strings.js";

const LONG = 20; // letters
const WIDE = 12; // columns; wider tables are printed small

/** @typedef {{caption: string, columns: string[], rows: (string | number)[][]}} Table */

/**
 * @param {HTMLElement} map
 * @param {() => Table} tableOf
 */
export function withTable(map, tableOf) {
  const button = el("button", { type: "button", class: "quiet" }, STRINGS.table.show);
  const holder = el("div", { class: "table-holder", tabindex: 0, role: "region" });
  holder.hidden = true;
  button.addEventListener("click", () => {
    holder.hidden = !holder.hidden;
    update();
  });
  const element = el("div", { class: "tabled" }, map, button, holder);

  function update() {
    setText(button, holder.hidden ? STRINGS.table.show : STRINGS.table.hide);
    setAttribute(button, "aria-expanded", !holder.hidden);
    if (holder.hidden) {
      fill(holder);
      return;
    }
    const table = tableOf();
    setAttribute(holder, "aria-label", table.caption);
    fill(holder, tableElement(table));
  }
  setAttribute(button, "aria-expanded", false);
  return { element, update };
}

/** @param {Table} table */
export function tableElement({ caption, columns, rows }) {
  return el(
    "table",
    { class: columns.length > WIDE ? "numbers wide-table" : "numbers" },
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col", title: titleOf(name) }, name)))),
    el(
      "tbody",
      {},
      ...rows.map(([name, ...values]) =>
        el(
          "tr",
          {},
          el("th", { scope: "row", title: titleOf(name) }, String(name)),
          ...values.map((value) => el("td", {}, String(value))),
        ),
      ),
    ),
  );
}

/** A name, with a title if it is long and may be cut. @param {string | number} name */
function titleOf(name) {
  return String(name).length > LONG ? name : null;
}
