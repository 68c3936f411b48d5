// Grids: cells that have their index in a data attribute, with one tab stop, pointer, focus and arrow keys.

const SAME_ROW = 3; // pixels between the upper edges of two cells of one row
const KEYS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, -Infinity],
  End: [0, Infinity],
};

/** The row and column a key leads to; null for other keys. */
export function moved({ key, ctrlKey }: KeyboardEvent, [row, column]: [number, number], rows: number, columns: number): [number, number] | null {
  if (!(key in KEYS)) return null;
  const [down, across] = KEYS[key];
  const isCorner = ctrlKey && !Number.isFinite(across);
  return [within(row + (isCorner ? across : down), rows), within(column + across, columns)];
}

export function within(place: number, length: number): number {
  return Math.max(0, Math.min(length - 1, place));
}

interface Grid {
  name: string; // of the data attribute
  choose: (cell: number) => void;
  hover?: (cell: number | null) => void;
  isPicker?: boolean; // whether keys move the focus alone, and Enter or Space chooses
}

/** Handlers of a grid's events. */
export function gridEvents({ name, choose, hover, isPicker }: Grid) {
  const cellOf = ({ target }: Event): HTMLElement | null => (target as Element | null)?.closest?.<HTMLElement>(`[data-${name}]`) ?? null;
  const numberOf = (cell: HTMLElement | null): number | null => cell && Number(cell.dataset[name]);
  const onEnter = hover && ((event: Event): void => hover(numberOf(cellOf(event))));
  const onLeave = hover && ((): void => hover(null));
  return {
    onClick: (event: Event): void => {
      const cell = numberOf(cellOf(event));
      if (cell !== null) choose(cell);
    },
    onKeyDown: (event: KeyboardEvent): void => {
      const cell = cellOf(event);
      if (!cell) return;
      const isChosen = isPicker && (event.key === "Enter" || event.key === " ");
      const to = isChosen ? cell : neighbour(event, cell, (event.currentTarget as Element).querySelectorAll(`[data-${name}]`));
      if (!to) return;
      event.preventDefault();
      if (isChosen || !isPicker) choose(numberOf(to)!);
      to.focus();
    },
    onPointerOver: onEnter,
    onPointerLeave: onLeave,
    ...(isPicker ? { onFocusIn: onEnter, onFocusOut: onLeave } : {}),
  };
}

/** The cell that a key leads to, in rows as they are laid out; null for other keys. */
function neighbour(event: KeyboardEvent, cell: HTMLElement, cells: Iterable<HTMLElement>): HTMLElement | null {
  const rows: { top: number; cells: HTMLElement[] }[] = [];
  for (const one of cells) {
    const { top } = one.getBoundingClientRect();
    const row = rows.find((other) => Math.abs(other.top - top) < SAME_ROW);
    if (row) row.cells.push(one);
    else rows.push({ top, cells: [one] });
  }
  rows.sort((a, b) => a.top - b.top);
  const row = rows.findIndex((one) => one.cells.includes(cell));
  const to = moved(event, [row, rows[row].cells.indexOf(cell)], rows.length, Infinity);
  if (!to) return null;
  const { cells: found } = rows[to[0]];
  return found[within(to[1], found.length)];
}
