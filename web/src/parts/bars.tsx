// Bars: the components of vectors, running sums, and one number for each token.

import type { ComponentChildren } from "preact";

import { VectorCanvas } from "../draw/canvas";
import { css, signedColour } from "../draw/colours";
import { decimal } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";

const WIDTH = 40; // of a column
const [MIN_TOKEN, MAX_TOKEN, ALL_TOKENS] = [36, 90, 480]; // widths of a bar, and of all where they are few
const LETTER = 7.5;
const MAX_ZOOM = 1.45; // of bars with few tokens
const MAX_WIDTH = 800; // of a vector, in pixels
const MAX_SCALE = 1.1; // of one with few columns
const MAX_WRITTEN = 24; // more columns have no numbers

const strong = (value: number): string => css(signedColour(Math.sign(value) * 0.8, 1));

interface VectorProps {
  label: string;
  name: string; // beside the bars: q, k, v
  kind: "q" | "k" | "v" | "product" | "waterfall"; // in a waterfall, each bar begins where the last one ended
  values: ArrayLike<number>;
  domain?: number; // by default the largest sum
  upTo?: number; // how many are shown; by default all
  height?: number;
}

/** The components of a vector as bars with their numbers, or as terms of a sum. */
export function VectorBars({ label, name, kind, values, domain, upTo = values.length, height = 44 }: VectorProps) {
  const count = values.length;
  const sums = [0];
  for (let i = 0; i < count; i++) sums.push(sums[i] + values[i]);
  const [low, high] = domain ? [-domain, domain] : [Math.min(...sums), Math.max(...sums, 1e-9)];
  const top = domain ? 0 : 14; // room for the sum
  const y = (value: number): number => ((high - value) / (high - low)) * height;
  return (
    <div class={`vector-bars ${kind}`}>
      <span class="name" aria-hidden="true">{name}</span>
      <svg style={{ maxWidth: `${Math.min(MAX_WIDTH, MAX_SCALE * count * WIDTH)}px` }} viewBox={`0 ${-top} ${count * WIDTH} ${height + (domain ? 14 : 2 * top)}`} role="img" aria-label={label}>
        <line class="axis" x1={0} x2={count * WIDTH} y1={y(0)} y2={y(0)} />
        {Array.from(values, (value, i) => {
          if (i >= upTo) return null;
          const [from, to] = domain ? [y(0), y(value)] : [y(sums[i]), y(sums[i + 1])];
          return (
            <g key={i}>
              <rect x={i * WIDTH + 9} width={WIDTH - 18} y={Math.min(from, to)} height={Math.max(0.7, Math.abs(from - to))} rx={1.5} style={domain ? undefined : { fill: strong(value) }} />
              {domain && count <= MAX_WRITTEN && <text x={(i + 0.5) * WIDTH} y={height + 11}>{decimal(value)}</text>}
              {!domain && <line class="link" x1={(i + 1) * WIDTH - 9} x2={Math.min(count * WIDTH, (i + 1) * WIDTH + 9)} y1={to} y2={to} />}
            </g>
          );
        })}
        {!domain && upTo > 0 && (
          <text class="sum" x={Math.min(upTo, count) * WIDTH - 4} y={y(sums[upTo]) + (values[upTo - 1] < 0 ? 14 : -4)}>{decimal(sums[upTo])}</text>
        )}
      </svg>
    </div>
  );
}

/** A vector as a line of colours, with its name. */
export function VectorStrip(props: { name: ComponentChildren; values: ArrayLike<number>; domain: number; class?: string; children?: ComponentChildren }) {
  return (
    <div class={`strip-row ${props.class ?? ""}`}>
      <span>{props.name}</span>
      <VectorCanvas values={props.values} domain={props.domain} />
      {props.children}
    </div>
  );
}

interface TokenProps {
  label: string;
  names: string[];
  values: ArrayLike<number>;
  domain: number; // the end of the axis
  signed?: boolean; // whether the axis goes from -domain to domain
  text?: (value: number) => string; // by default one decimal, or whole per cents of a share
  ghost?: ArrayLike<number>; // outlined behind: the values before
  now?: number; // the marked token
  mark?: { value: number; text: string }; // a line across
  height?: number;
  pick?: (token: number) => void;
  hover?: (token: number | null) => void;
}

/** One bar for each token. The digit beside it offers the same choice to the keyboard. */
export function TokenBars({ names, values, domain, signed = false, ghost, now, mark, height = 120, pick, hover, ...props }: TokenProps) {
  const share = (value: number): string => (value >= 0.03 ? decimal(value * 100, 0) : "");
  const text = props.text ?? (signed ? (value: number) => decimal(value, 1) : share);
  const width = Math.max(MIN_TOKEN, Math.min(MAX_TOKEN, ALL_TOKENS / names.length));
  const letters = Math.floor(width / LETTER);
  const wide = names.length * width;
  const zero = signed ? height / 2 : height;
  const bar = (value: number): { y: number; height: number } => {
    const size = Number.isFinite(value) ? Math.min(1, Math.abs(value) / domain) * zero : 0;
    return { y: value > 0 ? zero - size : zero, height: Math.max(size, 0.5) };
  };
  const line = mark && zero - (mark.value / domain) * zero;
  const isLeftHigh = argmax(values) < names.length / 2; // where the mark's text would be
  return (
    <svg class="token-bars" style={{ maxWidth: `${wide * MAX_ZOOM}px` }} viewBox={`0 -14 ${wide} ${height + 42}`} role="img" aria-label={props.label} onPointerLeave={() => hover?.(null)}>
      <line class="axis" x1={0} x2={wide} y1={zero} y2={zero} />
      {names.map((name, i) => {
        const shape = bar(values[i]);
        const outer = bar(ghost && Math.abs(ghost[i]) > Math.abs(values[i]) ? ghost[i] : values[i]);
        const inner = { x: i * width + 5, width: width - 10 };
        const middle = (i + 0.5) * width;
        return (
          <g key={i} class={i === now ? "now" : ""} onClick={() => pick?.(i)} onPointerEnter={() => hover?.(i)}>
            <rect class="target" x={i * width} width={width} y={-14} height={height + 42} />
            {ghost && <rect class="ghost" {...inner} {...bar(ghost[i])} />}
            <rect class="bar" {...inner} {...shape} style={{ fill: signed ? strong(values[i]) : "var(--accent)" }} />
            <text class="value" x={middle} y={signed && values[i] < 0 ? outer.y + outer.height + 11 : outer.y - 3}>{text(values[i])}</text>
            <text class="token" x={middle} y={height + 24}>{name.length > letters ? `${name.slice(0, letters - 1)}…` : name}</text>
          </g>
        );
      })}
      {mark && (
        <g class="mark">
          <line x1={0} x2={wide} y1={line} y2={line} />
          <text x={isLeftHigh ? wide : 0} y={line! - 4} style={{ textAnchor: isLeftHigh ? "end" : "start" }}>{mark.text}</text>
        </g>
      )}
    </svg>
  );
}
