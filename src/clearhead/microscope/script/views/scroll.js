// On a small screen, what was asked for is brought into view: it begins below the digit.

const NARROW = "(max-width: 720px)";
const STILL = "(prefers-reduced-motion: reduce)";

/** @param {HTMLElement} element shown in the next frame, under whatever sticks to the top */
export function intoView(element) {
  if (!matchMedia(NARROW).matches) return;
  const behavior = matchMedia(STILL).matches ? "instant" : "smooth";
  requestAnimationFrame(() =>
    requestAnimationFrame(() => element.scrollIntoView({ block: "start", behavior })),
  );
}
