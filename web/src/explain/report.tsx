// What pages of pictures and texts have in common, and the page of a text: which tokens the query tokens attend
// to, layer by layer.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

import type { ScaleMode } from "../draw/colours";
import { percent } from "../draw/numbers";
import type { TextData } from "./data";
import { Choice } from "../parts/controls";
import { WordAttention, type WordRow } from "../parts/words";
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
  const [part, setPart] = useState(attention.length - 1);
  const [place, setPlace] = useState(0); // of the query token
  const [scale, setScale] = useState<ScaleMode>("fixed");
  const isOne = queries.length === 1; // then a row for each layer, else for each query token
  const { label, layer, head } = attention[part];
  const rowOf = (one: TextData["attention"][number], at: number, name: string): WordRow => {
    const weights = one.weights[at].map((weight, i) => (one.visible[at][i] ? weight : NaN));
    return { name, head: one.label, query: queries[at], weights };
  };
  const rows = isOne
    ? attention.map((one) => rowOf(one, 0, one.label))
    : queries.map((query, at) => rowOf(attention[part], at, tokens[query]));
  const heads = attention.filter((one) => one.layer === layer).map((one) => one.head);
  const find = (toLayer: string, toHead: string): void => {
    const found = attention.findIndex((one) => one.layer === toLayer && one.head === toHead);
    setPart(found < 0 ? attention.findIndex((one) => one.layer === toLayer) : found);
  };
  return (
    <Report title={data.text} note={`${data.model}, ${data.description}`} foot={`The weights of all ${data.verified} layers were verified: they are what the model computed.`}>
      <section class="text-page">
        <h2>Attention between words</h2>
        {data.warnings.map((warning) => <p key={warning} class="note">{warning}</p>)}
        <div class="row">
          <Choice label="Layer" options={[...new Set(attention.map((one) => one.layer))]} value={layer} choose={(to) => find(to, head)} />
          {head && <Choice label="Head" options={heads} value={head} choose={(to) => find(layer, to)} />}
          <span class="small">{data.heads}</span>
        </div>
        <WordAttention
          label={`${isOne ? `Attention of “${tokens[queries[0]]}” in each layer and head` : `Attention of each token, ${label}`}, ${data.heads}`}
          words={tokens}
          rows={rows}
          row={isOne ? part : place}
          queries={queries}
          pickQuery={(query) => setPlace(queries.indexOf(query))}
          pickRow={isOne ? setPart : setPlace}
          scale={scale}
          modes={["fixed", "even"]}
          setScale={setScale}
        >
          {prediction && <>After “{prediction.question}” the model predicts: {prediction.words.map(([name, share]) => `${name} ${percent(share)}`).join(", ")}.</>}
        </WordAttention>
      </section>
    </Report>
  );
}
