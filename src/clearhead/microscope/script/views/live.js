// What is said aloud and shown for a moment: one polite live region, in which nothing overtakes the answer.

import { el, setText } from "../element.js";

/** @typedef {import("../store.js").Kind} Kind */

const APART = 1000; // milliseconds between two texts: a screen reader must get as far as to begin
const SECONDS = 10; // after which a message would only be stale
/** What is said first of all that waits. @type {Kind[]} */
const ORDER = ["answer", "place", "note"];

/** So that two messages are not read as one. @param {string} message */
function sentence(message) {
  return /[.!?…]$/.test(message) ? message : `${message}.`;
}

/**
 * The region that is read aloud, and copies for the eye in places that are kept free for them.
 * @param {number} count of copies
 */
export function createLive(count) {
  const element = el("p", { class: "live hidden", "aria-live": "polite", role: "status" });
  const copies = Array.from({ length: count }, () => el("p", { class: "said", "aria-hidden": "true" }));
  /** @type {{kind: Kind, message: string}[]} */
  let waiting = [];
  let last = { time: -APART, place: false };
  let coming = 0;
  let ending = 0;

  /** @param {string} message @param {Kind} [kind] of an answer, or of a place of the pen, only the newest counts */
  function say(message, kind = "note") {
    waiting = [...waiting.filter((one) => kind === "note" || one.kind !== kind), { kind, message }];
    const hurried = last.place && waiting.every((one) => one.kind === "place");
    clearTimeout(coming);
    coming = setTimeout(tell, hurried ? 0 : Math.max(0, last.time + APART - performance.now()));
  }

  function tell() {
    const told = ORDER.flatMap((kind) => waiting.filter((one) => one.kind === kind));
    waiting = [];
    last = { time: performance.now(), place: told.every(({ kind }) => kind === "place") };
    element.textContent = told.map(({ message }) => sentence(message)).join(" ");
    const shown = told.filter(({ kind }) => kind !== "answer"); // that one stands elsewhere
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
  return { element, copies, say };
}
