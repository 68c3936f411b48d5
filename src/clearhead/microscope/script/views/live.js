// Messages in one polite live region, also shown for a moment; the prediction comes first.

import { el, setText } from "../element.js";

/** @typedef {import("../store.js").Kind} Kind */

const APART = 1000; // milliseconds between two texts, so that a screen reader starts the first
const SECONDS = 10; // until a message is removed
/** The order of waiting messages. @type {Kind[]} */
const ORDER = ["prediction", "place", "note"];

/** Ends a message with a full stop, to separate it from the next. @param {string} message */
function sentence(message) {
  return /[.!?…]$/.test(message) ? message : `${message}.`;
}

/**
 * The live region, and visible copies in reserved places.
 * @param {number} count of copies
 */
export function createLive(count) {
  const element = el("p", { class: "live hidden", "aria-live": "polite", role: "status" });
  const copies = Array.from({ length: count }, () => el("p", { class: "message", "aria-hidden": "true" }));
  /** @type {{kind: Kind, message: string}[]} */
  let waiting = [];
  let last = { time: -APART, place: false };
  let coming = 0;
  let ending = 0;

  /** @param {string} message @param {Kind} [kind] only the newest waiting prediction and pen place are kept */
  function announce(message, kind = "note") {
    waiting = [...waiting.filter((one) => kind === "note" || one.kind !== kind), { kind, message }];
    const hurried = last.place && waiting.every((one) => one.kind === "place");
    clearTimeout(coming);
    coming = setTimeout(speak, hurried ? 0 : Math.max(0, last.time + APART - performance.now()));
  }

  function speak() {
    const spoken = ORDER.flatMap((kind) => waiting.filter((one) => one.kind === kind));
    waiting = [];
    last = { time: performance.now(), place: spoken.every(({ kind }) => kind === "place") };
    element.textContent = spoken.map(({ message }) => sentence(message)).join(" ");
    const shown = spoken.filter(({ kind }) => kind !== "prediction"); // the prediction is shown elsewhere
    if (shown.length) show(shown.map(({ message }) => message).join(" "));
    clearTimeout(ending);
    ending = setTimeout(() => {
      setText(element, "");
      show("");
    }, SECONDS * 1000);
  }

  /** @param {string} message */
  function show(message) {
    for (const copy of copies) setText(copy, message);
  }
  return { element, copies, announce };
}
