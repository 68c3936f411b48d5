// Work that waits until the browser has nothing else to do.

const SLICE = 12; // milliseconds at a time, so that a frame is not missed

/**
 * Runs the pieces one after the other in idle slices; calls `rest` after each slice.
 * @param {(() => void)[]} pieces
 * @param {(done: boolean) => void} rest
 * @returns {() => void} stops it
 */
export function whenIdle(pieces, rest) {
  let next = 0;
  let stopped = false;
  const slice = () => {
    if (stopped) return;
    const start = performance.now();
    do pieces[next++]();
    while (next < pieces.length && performance.now() - start < SLICE);
    rest(next >= pieces.length);
    if (next < pieces.length) later(slice);
  };
  if (pieces.length > 0) later(slice);
  return () => {
    stopped = true;
  };
}

/** @param {() => void} work */
function later(work) {
  if ("requestIdleCallback" in globalThis) requestIdleCallback(work, { timeout: 500 });
  else setTimeout(work, 16);
}
