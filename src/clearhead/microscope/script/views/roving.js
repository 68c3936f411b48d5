// Arrow keys inside a group, of which one item is a tab stop.

/**
 * @param {HTMLElement} group
 * @param {HTMLElement[]} items
 * @param {(index: number) => void} choose
 */
export function moveBetween(group, items, choose) {
  group.addEventListener("keydown", (event) => {
    const now = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const next = nextIndex(event.key, now, items.length);
    if (now < 0 || next === null) return;
    event.preventDefault();
    choose(next);
    items[next].focus();
  });
}

/**
 * @param {string} key
 * @param {number} now
 * @param {number} count
 */
function nextIndex(key, now, count) {
  if (key === "ArrowRight" || key === "ArrowDown") return (now + 1) % count;
  if (key === "ArrowLeft" || key === "ArrowUp") return (now - 1 + count) % count;
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  return null;
}
