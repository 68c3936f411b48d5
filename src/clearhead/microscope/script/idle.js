// Work that waits until the browser is idle.

const MIN_REMAINING = 8; // milliseconds for another piece

/** @typedef {{timeRemaining: () => number}} Deadline */

/**
 * Runs the pieces one after the other in idle slices; calls `rest` after each slice.
 * @param {(() => void)[]} pieces
 * @param {(done: boolean) => void} rest
 * @returns {() => void} stops it
 */
export function whenIdle(pieces, rest) {
  let next = 0;
  let stopped = false;
  /** @param {Deadline} deadline */
  const slice = (deadline) => {
    if (stopped) return;
    do pieces[next++]();
    while (next < pieces.length && deadline.timeRemaining() > MIN_REMAINING);
    rest(next >= pieces.length);
    if (next < pieces.length) later(slice);
  };
  if (pieces.length > 0) later(slice);
  return () => {
    stopped = true;
  };
}

/** @param {(deadline: Deadline) => void} work */
function later(work) {
  if ("requestIdleCallback" in globalThis) requestIdleCallback(work, { timeout: 200 });
  else setTimeout(() => work({ timeRemaining: () => 0 }), 16);
}
