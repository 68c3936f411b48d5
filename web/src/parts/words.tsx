// Attention between words: the words of a query in a line, and the matrix of all rows.

import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";

import { css, largestSize, shareColour, weightColour, type ScaleMode } from "../draw/colours";
import { decimal, multiple, percent } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { Choice, TableButton } from "./controls";
import { Matrix } from "./matrix";
import { pairLabel, ScaleChoice, WeightScale } from "./scale";

interface TextHead {
  layer: string;
  head: string; // empty where there is no choice
  label: string; // "L3 H2"
  weights: ArrayLike<number>[]; // of each query; NaN where a word is masked
}

interface Chosen {
  headIndex: number; // of the chosen head, in `heads`
  queryIndex: number; // of the chosen query, in `queries`
  scale: ScaleMode;
}

interface Props extends Chosen {
  words: string[];
  queries: number[]; // the words that can be chosen
  heads: TextHead[];
  note?: string; // which heads these are
  modes: readonly ScaleMode[];
  choose: (changes: Partial<Chosen>) => void;
  before?: ComponentChildren; // beside the choice of a head
  children?: ComponentChildren; // after the sentence on the row
}

/** The weights of one query in each head or, where there are several queries, of each query in the chosen head. */
export function TextAttention({ words, queries, heads, note, headIndex, queryIndex, scale, modes, choose, before, children }: Props) {
  const group = useId();
  const [key, setKey] = useState<number | null>(null);
  const isOne = queries.length === 1;
  const { layer, label } = heads[headIndex];
  const rows = isOne
    ? heads.map((one) => ({ name: one.label, head: one.label, query: queries[0], weights: one.weights[0] }))
    : queries.map((query, i) => ({ name: words[query], head: label, query, weights: heads[headIndex].weights[i] }));
  const row = isOne ? headIndex : queryIndex;
  const title = (isOne ? `Attention of “${words[queries[0]]}” in each layer and head` : `Attention of each word, ${label}`) + (note ? `, ${note}` : "");
  const find = (toLayer: string, toHead: string): void => {
    const found = heads.findIndex((one) => one.layer === toLayer && one.head === toHead);
    choose({ headIndex: found < 0 ? heads.findIndex((one) => one.layer === toLayer) : found });
  };
  const evens = rows.map(({ weights }) => 1 / Math.max(1, Array.from(weights).filter((weight) => weight >= 0).length));
  const at = (of: number, column: number): number => rows[of].weights[column];
  const isMasked = (of: number, column: number): boolean => Number.isNaN(at(of, column));
  const { head, query, weights } = rows[row];
  const best = argmax(Array.from(weights, (weight) => weight || 0));
  const shown = Math.min(key ?? best, words.length - 1);
  const largest = largestSize(...rows.map((one) => one.weights));
  const nameAt = (of: number, column: number): string => {
    const name = `${rows[of].head}: `;
    if (isMasked(of, column)) return `${name}${words[column]} is masked`;
    return name + pairLabel(words[rows[of].query], words[column], at(of, column), evens[of]);
  };
  return (
    <>
      <div class="row">
        {before}
        <Choice label="Layer" options={[...new Set(heads.map((one) => one.layer))]} value={layer} choose={(to) => find(to, heads[headIndex].head)} />
        {heads[headIndex].head && (
          <Choice label="Head" options={heads.filter((one) => one.layer === layer).map((one) => one.head)} value={heads[headIndex].head} choose={(to) => find(layer, to)} />
        )}
        {note && <span class="small">{note}</span>}
      </div>
      <div class="words-holder">
        <WordArcs query={query} weights={weights} />
        <div class="words" role="radiogroup" aria-label="Query word" style={{ "--count": words.length }}>
          {words.map((text, i) => (
            <label key={i} class="button" style={{ "--share": weights[i] || 0 }} title={text}>
              <input
                type="radio"
                name={group}
                checked={i === query}
                disabled={!queries.includes(i)}
                onChange={() => {
                  setKey(null);
                  choose({ queryIndex: queries.indexOf(i) });
                }}
              />
              {text}
              <span>{isMasked(row, i) ? "masked" : weights[i] >= 0.005 ? percent(weights[i]) : ""}</span>
            </label>
          ))}
        </div>
      </div>
      <p class="revealed" id="sentence" aria-live="polite">
        <b>{head}:</b> “{words[query]}”{" "}
        {isMasked(row, shown) ? (
          <>may not attend to “{words[shown]}”.</>
        ) : (
          <>attends {shown === best && "most "}to “{words[shown]}” with <b>{percent(weights[shown])}</b>, {multiple(weights[shown] / evens[row])} the uniform weight.</>
        )}{" "}
        {children}
      </p>
      <div class="row text-maps">
        <div class="wide-matrix" style={{ "--count": words.length }}>
          <Matrix
            class="of-words"
            label={title}
            rows={rows.map(({ name }) => name)}
            columns={words}
            colourAt={(of, column) => (isMasked(of, column) ? null : weightColour(at(of, column), scale, evens[of], largest))}
            textAt={(of, column) => {
              if (isMasked(of, column)) return "–";
              return at(of, column) >= 1.6 * evens[of] ? decimal(at(of, column) * 100, 0) : "";
            }}
            nameAt={nameAt}
            chosen={[row, shown]}
            drawn={rows}
            choose={(of, column) => {
              setKey(column);
              choose(isOne ? { headIndex: of } : { queryIndex: of });
            }}
          />
        </div>
        <div class="aside">
          <ScaleChoice modes={modes} mode={scale} choose={(mode) => choose({ scale: mode })} />
          <WeightScale mode={scale} even={evens[row]} largest={largest} />
          <TableButton
            caption={title}
            columns={["", ...words]}
            rows={() => rows.map(({ name }, of) => [name, ...words.map((_, column) => (isMasked(of, column) ? "–" : percent(at(of, column))))])}
          />
        </div>
      </div>
    </>
  );
}

/** Arcs over equally wide words, from the query word. */
function WordArcs({ query, weights }: { query: number; weights: ArrayLike<number> }) {
  const count = weights.length;
  const height = 110;
  const unit = 100;
  return (
    <svg class="word-arcs" viewBox={`0 0 ${count * unit} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      {Array.from(weights, (weight, i) => {
        if (!(weight >= 0.005)) return null;
        const [from, to] = [(query + 0.5) * unit, (i + 0.5) * unit];
        const top = height - (4 / 3) * Math.max(14, (Math.abs(i - query) / (count - 1 || 1)) * (height - 8));
        const path = i === query ? `M${from - 12} ${height}C${from - 30} ${height - 44} ${from + 30} ${height - 44} ${from + 12} ${height}` : `M${from} ${height}C${from} ${top} ${to} ${top} ${to} ${height}`;
        return <path key={i} d={path} stroke={css(shareColour(Math.max(weight, 0.1)))} stroke-width={1.5 + 12 * weight} vector-effect="non-scaling-stroke" />;
      })}
    </svg>
  );
}
