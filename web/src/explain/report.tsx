// What pages of pictures and texts have in common, and the page of a text: which tokens the query tokens attend
// to, layer by layer.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

import type { ScaleMode } from "../draw/colours";
import { percent } from "../draw/numbers";
import type { TextData } from "./data";
import { TextAttention } from "../parts/words";
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

export function TextReport({ data }: { data: TextData }) {
  const { tokens, queries, attention, prediction } = data;
  const [chosen, setChosen] = useState({ headIndex: attention.length - 1, queryIndex: 0, scale: "fixed" as ScaleMode });
  const heads = attention.map(({ weights, visible, ...one }) => ({
    ...one,
    weights: weights.map((row, at) => row.map((weight, i) => (visible[at][i] ? weight : NaN))),
  }));
  return (
    <Report title={data.text} note={`${data.model}, ${data.description}`} foot={`The weights of all ${data.verified} layers were verified: they are what the model computed.`}>
      <section class="text-page">
        <h2>Attention between words</h2>
        {data.warnings.map((warning) => <p key={warning} class="note">{warning}</p>)}
        <TextAttention words={tokens} queries={queries} heads={heads} note={data.heads} modes={["fixed", "even"]} {...chosen} choose={(changes) => setChosen({ ...chosen, ...changes })}>
          {prediction && <>After “{prediction.question}” the model predicts: {prediction.words.map(([name, share]) => `${name} ${percent(share)}`).join(", ")}.</>}
        </TextAttention>
      </section>
    </Report>
  );
}
