// A row of buttons that behaves as radio buttons.

import { el, setAttribute, setText } from "../element.js";
import { moveBetween } from "./roving.js";

/**
 * @template T
 * @typedef {{value: T, text: string, label?: string}} Option
 */

/**
 * @template T
 * @param {{label: string, options: Option<T>[], choose: (value: T) => void, visibleLabel?: boolean}} what
 */
export function createChoice({ label, options, choose, visibleLabel = true }) {
  const buttons = options.map(({ value, text, label: name }) =>
    el(
      "button",
      { type: "button", role: "radio", "aria-label": name, on: { click: () => choose(value) } },
      text,
    ),
  );
  const group = el("div", { class: "choice", role: "radiogroup", "aria-label": label }, ...buttons);
  moveBetween(group, buttons, (i) => choose(options[i].value));
  const element = visibleLabel
    ? el("div", { class: "labelled" }, el("span", { class: "label", "aria-hidden": "true" }, label), group)
    : group;

  /** @param {T} chosen */
  const update = (chosen) => {
    options.forEach(({ value }, i) => {
      setAttribute(buttons[i], "aria-checked", value === chosen);
      setAttribute(buttons[i], "tabindex", value === chosen ? 0 : -1);
    });
  };
  return { element, update, buttons };
}

/**
 * A toggle button.
 * @param {string} text
 * @param {() => void} press
 */
export function createToggle(text, press) {
  const element = el("button", { type: "button", class: "toggle", on: { click: press } }, text);
  return {
    element,
    /** @param {boolean} pressed @param {string} [newText] */
    update: (pressed, newText) => {
      setAttribute(element, "aria-pressed", pressed);
      if (newText) setText(element, newText);
    },
  };
}
