// Attention between words: the words of a query in a line, and the matrix of all rows.

import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";

import { css, largestSize, shareColour, weightColour, type ScaleMode } from "../draw/colours";
import { decimal, multiple, percent } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { TableButton } from "./controls";
import { Matrix } from "./matrix";
import { pairLabel, ScaleChoice, WeightScale } from "./scale";

export interface WordRow {
  name: string;
  head: string; // "L3 H2"
  query: number; // a word
  weights: ArrayLike<number>; // of each word; NaN where it is masked
}

interface Props {
  label: string; // of the matrix
  words: string[];
  rows: WordRow[];
  row: number; // the chosen one
  queries?: number[]; // the words that can be chosen; by default all
  pickQuery: (word: number) => void;
  pickRow: (row: number) => void;
  scale: ScaleMode;
  modes: readonly ScaleMode[];
  setScale: (mode: ScaleMode) => void;
  children?: ComponentChildren; // after the sentence on the row
}

export function WordAttention({ label, words, rows, row, queries, pickQuery, pickRow, scale, modes, setScale, children }: Props) {
  const [key, setKey] = useState<number | null>(null);
  const evens = rows.map(({ weights }) => 1 / Math.max(1, Array.from(weights).filter((weight) => weight >= 0).length));
  const at = (place: number, column: number): number => rows[place].weights[column];
  const isMasked = (place: number, column: number): boolean => Number.isNaN(at(place, column));
  const { head, query, weights } = rows[row];
  const best = argmax(Array.from(weights, (weight) => weight || 0));
  const shown = Math.min(key ?? best, words.length - 1);
  const largest = largestSize(...rows.map((one) => one.weights));
  const nameAt = (place: number, column: number): string => {
    const name = `${rows[place].head}: `;
    if (isMasked(place, column)) return `${name}${words[column]} is masked`;
    return name + pairLabel(words[rows[place].query], words[column], at(place, column), evens[place]);
  };
  return (
    <>
      <WordStrip
        words={words}
        weights={weights}
        query={query}
        queries={queries}
        choose={(word) => {
          setKey(null);
          pickQuery(word);
        }}
      />
      <p class="revealed" id="sentence" aria-live="polite">
        <b>{head}</b> “{words[query]}” attends most to “{words[best]}”: <b>{percent(weights[best])}</b>, {multiple(weights[best] / evens[row])} the
        uniform weight. {children}
      </p>
      <div class="row text-maps">
        <div class="wide-matrix" style={{ "--count": words.length }}>
          <Matrix
            class="of-words"
            label={label}
            rows={rows.map(({ name }) => name)}
            columns={words}
            colourAt={(place, column) => (isMasked(place, column) ? null : weightColour(at(place, column), scale, evens[place], largest))}
            textAt={(place, column) => {
              if (isMasked(place, column)) return "–";
              return at(place, column) >= 1.6 * evens[place] ? decimal(at(place, column) * 100, 0) : "";
            }}
            nameAt={nameAt}
            chosen={[row, shown]}
            drawn={rows}
            choose={(place, column) => {
              setKey(column);
              pickRow(place);
            }}
          />
        </div>
        <div class="aside">
          <p class="readout">{nameAt(row, shown)}</p>
          <ScaleChoice modes={modes} mode={scale} choose={setScale} />
          <WeightScale mode={scale} even={evens[row]} largest={largest} />
          <TableButton
            caption={label}
            columns={["", ...words]}
            rows={() => rows.map(({ name }, place) => [name, ...words.map((_, column) => (isMasked(place, column) ? "–" : percent(at(place, column))))])}
          />
        </div>
      </div>
    </>
  );
}

interface StripProps {
  words: string[];
  weights: ArrayLike<number>;
  query: number;
  queries?: number[];
  choose: (word: number) => void;
}

/** The words, with arcs from the query word to the words it attends to. */
function WordStrip({ words, weights, query, queries = words.map((_, i) => i), choose }: StripProps) {
  const name = useId();
  const written = (weight: number): string => (Number.isNaN(weight) ? "masked" : weight >= 0.005 ? percent(weight) : "");
  return (
    <div class="words-holder">
      <WordArcs query={query} weights={weights} />
      <div class="words" role="radiogroup" aria-label="Query word" style={{ "--count": words.length }}>
        {words.map((text, i) => (
          <label key={i} class="button" style={{ "--share": weights[i] || 0 }} title={text}>
            <input type="radio" name={name} checked={i === query} disabled={!queries.includes(i)} onChange={() => choose(i)} />
            {text}
            <span>{written(weights[i])}</span>
          </label>
        ))}
      </div>
    </div>
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
