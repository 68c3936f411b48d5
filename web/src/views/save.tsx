// Saves the figure as SVG or PNG, and its numbers as CSV.

import { render, type ComponentChildren } from "preact";

import { inkColour } from "../draw/canvas";
import { css, weightColour, type ScaleMode } from "../draw/colours";
import { arcs, headName, middle, tokenName, tokenShort } from "../draw/geometry";
import { exactPercent, percent } from "../draw/numbers";
import { argmax, row } from "../engine/arithmetic";
import type { Config } from "../engine/config";
import { Arcs } from "../parts/digitmap";
import { sentenceOf } from "../parts/prediction";
import { chosenHead, store } from "../state/store";
import { weightTable } from "./attentionsteps";

const PNG_SCALE = 3;

export type Kind = "svg" | "png" | "csv";

/** Saves the chosen head; without a picture, there is only a message. */
export async function save(kind: Kind): Promise<void> {
  const { config, state } = store;
  const { layer, head, query } = state.value;
  const weights = chosenHead()?.weights;
  if (!weights) return store.say("There is nothing to save yet.");
  const name = `clearhead ${headName(layer, head)} ${tokenName(query, config)}.${kind}`.replaceAll(" ", "-").toLowerCase();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await { svg: svgOf, png: pngOf, csv: csvOf }[kind](weights));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  store.say(`Saved ${name}.`);
}

function svgOf(weights: Float64Array): Blob {
  const { config, result, state, changes } = store;
  const { ink, prediction } = result.value;
  const said = sentenceOf(prediction!, config.classNames, config.readsDigits);
  return new Blob([figure({ ...state.value, config, ink, weights, prediction: said, changes: changes.value })], { type: "image/svg+xml" });
}

async function pngOf(weights: Float64Array): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(await svgOf(weights).text())}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width * PNG_SCALE;
  canvas.height = image.height * PNG_SCALE;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture")))));
}

/** The weights of the head; lines that begin with # say what they are. */
function csvOf(weights: Float64Array): Blob {
  const { changes, state, config, payload } = store;
  const { caption, columns } = weightTable();
  const lines = [
    `# ${caption}`,
    `# model: ${payload.name}; query shown: ${tokenName(state.value.query, config)}`,
    `# changes: ${changes.value.join(", ") || "none: the trained model"}`,
    columns.join(),
    ...columns.slice(1).map((name, i) => [name, ...row(weights, i, config.tokens)].join()),
  ];
  return new Blob([`${lines.join("\n")}\n`], { type: "text/csv" });
}

interface Props {
  config: Config;
  ink: Float64Array;
  weights: Float64Array; // of the head
  layer: number;
  head: number;
  query: number;
  scale: ScaleMode;
  prediction: string;
  changes: string[];
}

const SIDE = 280;
const GAP = 40;
const TOP = 58;

export function figure(props: Props): string {
  const holder = document.createElement("div");
  render(<Figure {...props} />, holder);
  return new XMLSerializer().serializeToString(holder.firstChild as Element);
}

function Figure(props: Props) {
  const { config, layer, head, query, weights, scale, changes, prediction } = props;
  const shares = row(weights, query, config.tokens);
  const best = argmax(shares);
  const title = `${headName(layer, head)}: ${tokenName(query, config)} attends most to ${tokenName(best, config)}, ${percent(shares[best])}`;
  const scales = { even: "as multiples of the uniform weight", stretched: `stretched to ${percent(Math.max(...weights))}`, fixed: "from 0 to 100 %" };
  const changed = changes.length ? `changed: ${changes.join(", ")}` : "trained model";
  const high = (SIDE * config.imageShape[0]) / config.imageShape[1];
  const [width, height] = [2 * SIDE + 2 * GAP + 20, TOP + Math.max(high, SIDE) + 52];
  return (
    <svg xmlns="http://www.w3.org/2000/svg" width={width} height={height} viewBox={`0 0 ${width} ${height}`} font-family="system-ui, sans-serif" font-size={11}>
      <title>{title}</title>
      <rect width={width} height={height} fill="#ffffff" />
      <text x={20} y={28} font-size={16} font-weight={600}>{title}</text>
      <text x={20} y={46} fill="#555c68">{prediction}</text>
      <text x={20} y={height - 16} fill="#555c68">
        {`${changed}; weights ${scales[scale]}; uniform weight ${exactPercent(1 / config.tokens)}; rows are queries, columns keys`}
      </text>
      <g transform={`translate(20 ${TOP})`}><Digit {...props} shares={shares} high={high} /></g>
      <g transform={`translate(${20 + SIDE + GAP} ${TOP})`}><Weights {...props} /></g>
    </svg>
  );
}

function Digit({ config, ink, query, shares, high }: Props & { shares: Float64Array; high: number }) {
  const { grid: [rows, columns], imageShape, tokens, patches } = config;
  const [wide, tall] = [SIDE / columns, high / rows];
  const lines = [...Array(columns).keys()].map((i) => `M${i * wide} 0V${high}`).concat([...Array(rows).keys()].map((i) => `M0 ${i * tall}H${SIDE}`));
  return (
    <>
      {Array.from({ length: imageShape[0] * imageShape[1] }, (_, i) => (
        <Cell i={i} columns={imageShape[1]} wide={SIDE / imageShape[1]} high={high / imageShape[0]} fill={css(inkColour(ink, i, config))} />
      ))}
      <path d={lines.join("")} stroke="#ffffff" stroke-opacity={0.25} fill="none" />
      {Array.from({ length: patches }, (_, patch) => (
        <text x={(patch % columns) * wide + 4} y={Math.floor(patch / columns) * tall + 13} fill="#c9d1dc" stroke="#0d1117" stroke-width={3} paint-order="stroke">{patch + 1}</text>
      ))}
      <g transform={`scale(${wide} ${tall})`}>
        <Arcs shown={arcs(query, shares, config, 1 / tokens / 2)} start={middle(query, config)} from={1.6 / tokens} isBright={config.inChannels >= 3} />
      </g>
    </>
  );
}

function Weights({ config, weights, scale, query }: Props) {
  const { tokens } = config;
  const cell = SIDE / tokens;
  const largest = Math.max(...weights);
  const names: ComponentChildren = Array.from({ length: tokens }, (_, i) => (
    <>
      <text x={-5} y={(i + 0.7) * cell} text-anchor="end">{tokenShort(i, config)}</text>
      <text x={(i + 0.5) * cell} y={SIDE + 13} text-anchor="middle">{tokenShort(i, config)}</text>
    </>
  ));
  return (
    <>
      {Array.from(weights, (weight, i) => (
        <Cell i={i} columns={tokens} wide={cell} high={cell} fill={css(weightColour(weight, scale, 1 / tokens, largest))} />
      ))}
      {tokens <= 20 && names}
      <rect y={query * cell} width={SIDE} height={cell} fill="none" stroke="#ffffff" stroke-width={2} />
    </>
  );
}

/** Cell i of a grid; it overlaps the next one a little, so that no gap shows. */
function Cell({ i, columns, wide, high, fill }: { i: number; columns: number; wide: number; high: number; fill: string }) {
  return <rect x={(i % columns) * wide} y={Math.floor(i / columns) * high} width={wide + 0.2} height={high + 0.2} fill={fill} />;
}
