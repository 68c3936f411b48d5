// Terms with their meaning: a button in the text opens it.

import type { ComponentChildren } from "preact";

import { TERMS, type TermName } from "./terms";

const WIDTH = 290; // of a meaning, as in the style

const idOf = (name: TermName): string => `meaning-${name.replaceAll(" ", "-")}`;

/** A term in a text. */
export function Term({ name, children = name }: { name: TermName; children?: ComponentChildren }) {
  const id = idOf(name);
  return (
    <button type="button" class="term-name" popoverTarget={id} aria-describedby={id} onClick={(event) => place(document.getElementById(id)!, event.currentTarget)}>
      {children}
    </button>
  );
}

/** The meanings of all terms, once for the page. */
export function Meanings() {
  return (
    <>
      {(Object.keys(TERMS) as TermName[]).map((name) => (
        <div key={name} id={idOf(name)} class="meaning" role="note" popover="auto">
          <b>{name}</b> {TERMS[name]}
        </div>
      ))}
    </>
  );
}

/** Puts a meaning below its term, or above in the lower half of the window. */
function place(meaning: HTMLElement & { currentCSSZoom?: number }, term: HTMLElement): void {
  const { left, top, bottom } = term.getBoundingClientRect();
  const zoom = meaning.currentCSSZoom ?? 1;
  const across = Math.max(8, Math.min(left, innerWidth - WIDTH * zoom - 8));
  const isLow = top > innerHeight / 2;
  Object.assign(meaning.style, {
    left: `${across / zoom}px`,
    top: isLow ? "auto" : `${(bottom + 4) / zoom}px`,
    bottom: isLow ? `${(innerHeight - top + 4) / zoom}px` : "auto",
  });
}
