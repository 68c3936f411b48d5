// Movement by keys within grids and rows of controls.

/** The cell a key moves to; null for other keys. */
export function moved(
  event: KeyboardEvent,
  [row, column]: [number, number],
  rows: number,
  columns: number,
): [number, number] | null {
  switch (event.key) {
    case "ArrowUp":
      return [Math.max(0, row - 1), column];
    case "ArrowDown":
      return [Math.min(rows - 1, row + 1), column];
    case "ArrowLeft":
      return [row, Math.max(0, column - 1)];
    case "ArrowRight":
      return [row, Math.min(columns - 1, column + 1)];
    case "Home":
      return [event.ctrlKey ? 0 : row, 0];
    case "End":
      return [event.ctrlKey ? rows - 1 : row, columns - 1];
    default:
      return null;
  }
}

/** Focuses the element of this index among those that match within the event's container. */
export function focusAt(container: Element | null, selector: string, index: number): void {
  container?.querySelectorAll<HTMLElement>(selector)[index]?.focus();
}
