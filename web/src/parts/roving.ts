// Movement by keys within grids of cells, each with its index in a data attribute.

/** The cell a key moves to; null for other keys. */
export function moved(event: KeyboardEvent, [row, column]: [number, number], rows: number, columns: number): [number, number] | null {
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

interface Grid {
  name: string; // of the data attribute
  next: (event: KeyboardEvent, cell: number) => number | null; // the cell a key moves to
  choose: (cell: number) => void;
  hover?: (cell: number | null) => void;
  isPicker?: boolean; // whether keys move the focus alone, and Enter or Space chooses
}

/** Handlers of a grid's events. */
export function gridEvents({ name, next, choose, hover, isPicker }: Grid) {
  const cellOf = ({ target }: Event): number | null => {
    const cell = (target as Element | null)?.closest?.<HTMLElement>(`[data-${name}]`)?.dataset[name];
    return cell === undefined ? null : Number(cell);
  };
  const onEnter = hover && ((event: Event): void => hover(cellOf(event)));
  const onLeave = hover && ((): void => hover(null));
  return {
    onClick: (event: Event): void => {
      const cell = cellOf(event);
      if (cell !== null) choose(cell);
    },
    onKeyDown: (event: KeyboardEvent): void => {
      const cell = cellOf(event);
      if (cell === null) return;
      const isChosen = isPicker && (event.key === "Enter" || event.key === " ");
      const to = isChosen ? cell : next(event, cell);
      if (to === null) return;
      event.preventDefault();
      if (isChosen || !isPicker) choose(to);
      (event.currentTarget as Element).querySelector<HTMLElement>(`[data-${name}="${to}"]`)?.focus();
    },
    onPointerOver: onEnter,
    onPointerLeave: onLeave,
    ...(isPicker ? { onFocusIn: onEnter, onFocusOut: onLeave } : {}),
  };
}
