// Undoes the changes of a step of the walk when the step is left.

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../state.js").State} State */
/** @typedef {"positions" | "seed" | "temperature" | "masked" | "scope" | "removed"} Key */

const SCALED = 5; // changes of this step last through the next one, which shows their effect
/** The parts of the state that the controls of a step change; steps from 0. @type {Record<number, Key[]>} */
const KEYS = {
  2: ["positions", "seed"],
  [SCALED]: ["temperature"],
  [SCALED + 1]: ["temperature"],
  7: ["masked", "scope"],
  8: ["removed"],
};
const ALL = /** @type {Key[]} */ ([...new Set(Object.values(KEYS).flat())]);

/**
 * The changes that restore the state before the step; empty if it changed nothing.
 * @param {State} now
 * @param {State} before
 * @param {number} to the next step
 * @returns {Partial<State>}
 */
export function undoneChanges(now, before, to) {
  if (isCarried(now.step, to)) return {};
  const keys = (KEYS[now.step] ?? []).filter((key) => differs(now, before, key));
  return Object.fromEntries(keys.map((key) => [key, before[key]]));
}

/** @param {number} from @param {number} to */
export function isCarried(from, to) {
  return from === SCALED && to === SCALED + 1;
}

/**
 * The changes made in other tabs since the walk was shown; they are kept.
 * @param {State} now
 * @param {State} last
 * @returns {Partial<State>}
 */
export function changedElsewhere(now, last) {
  return Object.fromEntries(ALL.filter((key) => differs(now, last, key)).map((key) => [key, now[key]]));
}

/** @param {State} a @param {State} b @param {Key} key */
function differs(a, b, key) {
  return String(a[key]) !== String(b[key]);
}
