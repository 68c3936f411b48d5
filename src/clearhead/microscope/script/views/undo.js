// What the "try this" of a step changed in the model, and how it is taken back when the step is left.

/** @typedef {import("../store.js").App} App */
/** @typedef {import("../state.js").State} State */
/** @typedef {"positions" | "seed" | "temperature" | "silenced" | "scope" | "removed"} Key */

const SCALED = 5; // what this step changed is looked at in the next, and lasts until that is left
/** What the controls of a step change, steps from 0. @type {Record<number, Key[]>} */
const KEYS = {
  2: ["positions", "seed"],
  [SCALED]: ["temperature"],
  [SCALED + 1]: ["temperature"],
  7: ["silenced", "scope"],
  8: ["removed"],
};
const ALL = /** @type {Key[]} */ ([...new Set(Object.values(KEYS).flat())]);

/**
 * The changes that bring back what was before the step that is left; none if it changed nothing.
 * @param {State} now
 * @param {State} before
 * @param {number} to the step that follows
 * @returns {Partial<State>}
 */
export function takenBack(now, before, to) {
  if (isCarried(now.step, to)) return {};
  const keys = (KEYS[now.step] ?? []).filter((key) => differs(now, before, key));
  return Object.fromEntries(keys.map((key) => [key, before[key]]));
}

/** @param {number} from @param {number} to */
export function isCarried(from, to) {
  return from === SCALED && to === SCALED + 1;
}

/**
 * What was changed elsewhere, in Explore, since the walk was seen last: that stays.
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
