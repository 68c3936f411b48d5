// On a small screen, scrolls to the opened step or tab, which starts below the digit.

const NARROW = "(max-width: 720px)";
const STILL = "(prefers-reduced-motion: reduce)";

/** @param {HTMLElement} element shown in the next frame */
export function intoView(element) {
  if (!matchMedia(NARROW).matches) return;
  const behavior = matchMedia(STILL).matches ? "instant" : "smooth";
  requestAnimationFrame(() =>
    requestAnimationFrame(() => element.scrollIntoView({ block: "start", behavior })),
  );
}
