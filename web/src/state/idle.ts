// Work that waits until the browser is idle.

const MIN_REMAINING = 8; // milliseconds for another piece

interface Deadline {
  timeRemaining: () => number;
}

/** Runs the pieces one after the other in idle slices; calls `rest` after each slice with their number. Returns a stop. */
export function whenIdle(pieces: (() => void)[], rest: (done: number) => void): () => void {
  let next = 0;
  let stopped = false;
  const slice = (deadline: Deadline): void => {
    if (stopped) return;
    do pieces[next++]();
    while (next < pieces.length && deadline.timeRemaining() > MIN_REMAINING);
    rest(next);
    if (next < pieces.length) later(slice);
  };
  if (pieces.length > 0) later(slice);
  return () => {
    stopped = true;
  };
}

function later(work: (deadline: Deadline) => void): void {
  if ("requestIdleCallback" in globalThis) requestIdleCallback(work, { timeout: 200 });
  else setTimeout(() => work({ timeRemaining: () => 0 }), 16);
}
