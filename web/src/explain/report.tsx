// What pages of pictures and texts have in common: a head with the theme, and a foot.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

import { applyTheme, themeAfter, type State } from "../state/state";

interface Props {
  title: string;
  note: string;
  foot: string;
  children: ComponentChildren;
}

export function Report({ title, note, foot, children }: Props) {
  const [theme, setTheme] = useState<State["theme"]>("auto");
  useLayoutEffect(() => applyTheme(theme), [theme]);
  return (
    <>
      <header class="top">
        <p class="name">
          <span class="lens" aria-hidden="true" /> Clearhead <span>explanation</span>
        </p>
        <h1>
          {title} <span>{note}</span>
        </h1>
        <div class="tools">
          <button type="button" onClick={() => setTheme(themeAfter(theme))}>Theme: {theme}</button>
        </div>
      </header>
      <main>{children}</main>
      <footer class="small">
        Made by <code>clearhead explain</code>. This file is complete and makes no request. {foot}
      </footer>
    </>
  );
}
