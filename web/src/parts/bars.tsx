// Bars: the components of vectors, running sums, and one number for each token.

import type { ComponentChildren } from "preact";

import { VectorCanvas } from "../draw/canvas";
import { signedColour, css } from "../draw/colours";
import { decimal } from "../draw/numbers";

const WIDTH = 40; // of a column
const MAX_ZOOM = 1.45; // of bars with few tokens
const MAX_WRITTEN = 24; // more columns have no numbers

interface VectorProps {
  label: string;
  name: string; // beside the bars: q, k, v
  kind: "q" | "k" | "v" | "product";
  values: ArrayLike<number>;
  domain: number;
  upTo?: number; // how many are shown; by default all
  height?: number;
}

/** Columns beside their name, with an axis. */
function Columns(props: { kind: string; name: string; label: string; count: number; height: number; axis: number; children: ComponentChildren }) {
  const { count, height, axis } = props;
  return (
    <div class={`vector-bars ${props.kind}`}>
      <span class="name" aria-hidden="true">{props.name}</span>
      <svg viewBox={`0 0 ${count * WIDTH} ${height}`} role="img" aria-label={props.label}>
        <line class="axis" x1={0} x2={count * WIDTH} y1={axis} y2={axis} />
        {props.children}
      </svg>
    </div>
  );
}

/** The components of a vector as bars with their numbers. */
export function VectorBars({ label, name, kind, values, domain, upTo = values.length, height = 44 }: VectorProps) {
  const count = values.length;
  const half = height / 2;
  return (
    <Columns kind={kind} name={name} label={label} count={count} height={height + 14} axis={half}>
      {Array.from(values, (value, i) => {
        if (i >= upTo) return null;
        const size = Math.max(0.6, (Math.abs(value) / domain) * half);
        return (
          <g key={i}>
            <rect x={i * WIDTH + 9} width={WIDTH - 18} y={value > 0 ? half - size : half} height={size} rx={1.5} />
            {count <= MAX_WRITTEN && <text x={i * WIDTH + WIDTH / 2} y={height + 11}>{decimal(value)}</text>}
          </g>
        );
      })}
    </Columns>
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

/** Numbers that add up: each bar begins where the last one ended. */
export function Waterfall({ label, values, upTo }: { label: string; values: ArrayLike<number>; upTo: number }) {
  const sums = Array.from(values).reduce<number[]>((all, value) => [...all, all[all.length - 1] + value], [0]);
  const [low, high] = [Math.min(...sums), Math.max(...sums, 1e-9)];
  const height = 78;
  const y = (value: number): number => 6 + ((high - value) / (high - low || 1)) * (height - 12);
  const end = values.length * WIDTH;
  return (
    <Columns kind="waterfall" name="Σ" label={label} count={values.length} height={height} axis={y(0)}>
      {Array.from(values, (value, i) => {
        if (i >= upTo) return null;
        const [from, to] = [y(sums[i]), y(sums[i + 1])];
        const fill = css(signedColour(value > 0 ? 0.8 : -0.8, 1));
        return (
          <g key={i}>
            <rect x={i * WIDTH + 9} width={WIDTH - 18} y={Math.min(from, to)} height={Math.max(1, Math.abs(from - to))} style={{ fill }} rx={1.5} />
            <line class="link" x1={i * WIDTH + WIDTH - 9} x2={Math.min(end, (i + 1) * WIDTH + 9)} y1={to} y2={to} />
          </g>
        );
      })}
      {upTo > 0 && (
        <text class="sum" x={Math.min(upTo * WIDTH - 4, end - 4)} y={y(sums[upTo]) + (y(sums[upTo]) > 20 ? -5 : 15)}>
          {decimal(sums[upTo])}
        </text>
      )}
    </Columns>
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
export function TokenBars(props: TokenProps) {
  const { names, values, domain, signed = false, ghost, now, mark, height = 120 } = props;
  const share = (value: number): string => (value >= 0.03 ? decimal(value * 100, 0) : "");
  const text = props.text ?? (signed ? (value: number) => decimal(value, 1) : share);
  const colour = (value: number): string => (signed ? css(signedColour(Math.sign(value) * 0.8, 1)) : "var(--accent)");
  const width = 36;
  const count = names.length;
  const zero = signed ? height / 2 : height;
  const scale = (signed ? height / 2 : height) / domain;
  const bar = (value: number): { y: number; height: number } => {
    const size = Number.isFinite(value) ? Math.min(Math.abs(value) * scale, signed ? height / 2 : height) : 0;
    return { y: value > 0 ? zero - size : zero, height: Math.max(size, 0.5) };
  };
  return (
    <svg class="token-bars" style={{ maxWidth: `${count * width * MAX_ZOOM}px` }} viewBox={`0 -14 ${count * width} ${height + 42}`} role="img" aria-label={props.label} onPointerLeave={() => props.hover?.(null)}>
      <line class="axis" x1={0} x2={count * width} y1={zero} y2={zero} />
      {names.map((name, i) => (
        <g key={i} class={i === now ? "now" : ""} onClick={() => props.pick?.(i)} onPointerEnter={() => props.hover?.(i)}>
          <rect class="target" x={i * width} width={width} y={-14} height={height + 42} />
          {ghost && <rect class="ghost" x={i * width + 5} width={width - 10} {...bar(ghost[i])} />}
          <rect class="bar" x={i * width + 5} width={width - 10} {...bar(values[i])} style={{ fill: colour(values[i]) }} />
          <text class="value" x={i * width + width / 2} y={signed && values[i] < 0 ? bar(values[i]).y + bar(values[i]).height + 11 : bar(values[i]).y - 3}>
            {text(values[i])}
          </text>
          <text class="token" x={i * width + width / 2} y={height + 24}>{name}</text>
        </g>
      ))}
      {mark && (
        <g class="mark">
          <line x1={0} x2={count * width} y1={zero - mark.value * scale} y2={zero - mark.value * scale} />
          <text x={0} y={zero - mark.value * scale - 4}>{mark.text}</text>
        </g>
      )}
    </svg>
  );
}
