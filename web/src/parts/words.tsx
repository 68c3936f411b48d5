// Words in a line, and arcs from the query word to the words it attends to.

import { css, shareColour } from "../draw/colours";
import { percent } from "../draw/numbers";

interface Props {
  words: string[];
  weights: ArrayLike<number>; // of the query; NaN where a word is masked
  query: number;
  queries?: number[]; // the words that can be chosen; by default all
  choose: (word: number) => void;
}

export function WordStrip({ words, weights, query, queries = words.map((_, i) => i), choose }: Props) {
  const written = (weight: number): string => (Number.isNaN(weight) ? "masked" : weight >= 0.005 ? percent(weight) : "");
  return (
    <div class="words-holder">
      <WordArcs query={query} weights={weights} />
      <div class="words" role="radiogroup" aria-label="Query word" style={{ "--count": words.length }}
        onKeyDown={(event) => {
          const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!by) return;
          event.preventDefault();
          const next = queries[(queries.indexOf(query) + by + queries.length) % queries.length];
          choose(next);
          event.currentTarget.querySelectorAll("button")[next].focus();
        }}
      >
        {words.map((text, i) => (
          <button type="button" role="radio" key={i} aria-checked={i === query} disabled={!queries.includes(i)} tabIndex={i === query ? 0 : -1} style={{ "--share": weights[i] || 0 }} title={text} onClick={() => choose(i)}>
            {text}
            <span>{written(weights[i])}</span>
          </button>
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
