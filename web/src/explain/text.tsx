// The explanation of a text: which tokens the query tokens attend to, layer by layer.

import { useState } from "preact/hooks";

import { largestSize, weightColour, type ScaleMode } from "../draw/colours";
import { decimal, multiple, percent } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { Choice, TableButton } from "../parts/controls";
import { Matrix } from "../parts/matrix";
import { pairLabel } from "../parts/readout";
import { ScaleChoice, WeightScale } from "../parts/scale";
import { WordStrip } from "../parts/words";
import type { TextData } from "./data";
import { Report } from "./report";

export function TextReport({ data }: { data: TextData }) {
  const { tokens, queries, attention, prediction } = data;
  const [part, setPart] = useState(attention.length - 1);
  const [place, setPlace] = useState(0); // of the query token
  const [key, setKey] = useState<number | null>(null);
  const [scale, setScale] = useState<ScaleMode>("fixed");
  const isOne = queries.length === 1; // then a row for each layer, else for each query token
  const rowOf = (row: number): { weights: number[]; visible: boolean[] } => {
    const [one, query] = isOne ? [attention[row], 0] : [attention[part], row];
    return { weights: one.weights[query], visible: one.visible[query] };
  };
  const evenOf = (row: number): number => 1 / Math.max(1, rowOf(row).visible.filter(Boolean).length);
  const now = isOne ? part : place;
  const { weights, visible } = rowOf(now);
  const even = evenOf(now);
  const best = argmax(weights);
  const { label } = attention[part];
  const word = tokens[queries[place]];
  const rows = isOne ? attention.map((one) => one.label) : queries.map((query) => tokens[query]);
  const nameAt = (row: number, column: number): string => {
    const [head, query] = isOne ? [attention[row].label, word] : [label, rows[row]];
    if (!rowOf(row).visible[column]) return `${head}: ${tokens[column]} is masked`;
    return `${head}: ${pairLabel(query, tokens[column], rowOf(row).weights[column], evenOf(row))}`;
  };
  const choose = (row: number, column: number | null): void => {
    (isOne ? setPart : setPlace)(row);
    setKey(column);
  };
  const layers = [...new Set(attention.map(({ layer }) => layer))];
  const heads = attention.filter(({ layer }) => layer === attention[part].layer);
  const find = (layer: string, head: string): void => {
    const found = attention.findIndex((one) => one.layer === layer && one.head === head);
    setPart(found < 0 ? attention.findIndex((one) => one.layer === layer) : found);
  };
  return (
    <Report title={data.text} note={`${data.model}, ${data.description}`} foot={`The weights of all ${data.verified} layers were verified: they are what the model computed.`}>
      <section class="text-page">
        <h2>Attention between words</h2>
        {data.warnings.map((warning) => <p key={warning} class="note">{warning}</p>)}
        <div class="row">
          <Choice label="Layer" options={layers} value={attention[part].layer} choose={(layer) => find(layer, attention[part].head)} />
          {heads[0].head && <Choice label="Head" options={heads.map(({ head }) => head)} value={attention[part].head} choose={(head) => find(attention[part].layer, head)} />}
          <span class="small">{data.heads}</span>
        </div>
        <WordStrip
          words={tokens}
          weights={weights.map((weight, i) => (visible[i] ? weight : NaN))}
          query={queries[place]}
          queries={queries}
          choose={(query) => {
            setPlace(queries.indexOf(query));
            setKey(null);
          }}
        />
        <p class="revealed" id="sentence" aria-live="polite">
          <b>{label}</b> “{word}” attends most to “{tokens[best]}”: <b>{percent(weights[best])}</b>, {multiple(weights[best] / even)} the uniform weight.{" "}
          {prediction && <>After “{prediction.question}” the model predicts: {prediction.words.map(([name, share]) => `${name} ${percent(share)}`).join(", ")}.</>}
        </p>
        <div class="row text-maps">
          <div class="wide-matrix" style={{ "--count": tokens.length }}>
            <Matrix
              class="of-words"
              label={isOne ? `Attention of “${word}” in each layer and head` : `Attention of each token, ${label}`}
              rows={rows}
              columns={tokens}
              colourAt={(row, column) => (rowOf(row).visible[column] ? weightColour(rowOf(row).weights[column], scale, evenOf(row), 1) : null)}
              textAt={(row, column) => {
                const weight = rowOf(row).weights[column];
                return !rowOf(row).visible[column] ? "–" : weight >= 1.6 * evenOf(row) ? decimal(weight * 100, 0) : "";
              }}
              nameAt={nameAt}
              chosen={[now, key ?? best]}
              drawn={`${part} ${scale}`}
              choose={choose}
            />
          </div>
          <div class="aside">
            <p class="readout">{nameAt(now, key ?? best)}</p>
            <ScaleChoice modes={["fixed", "even"]} mode={scale} choose={setScale} />
            <WeightScale mode={scale} even={even} largest={largestSize(weights)} />
            <TableButton
              data={() => ({
                caption: isOne ? `“${word}”: attention weights, ${data.heads}` : `Attention weights of each query token, ${label}, ${data.heads}`,
                columns: isOne ? ["token", ...rows] : ["query", ...tokens],
                rows: (isOne ? tokens : rows).map((name, i) => [
                  name,
                  ...(isOne ? rows : tokens).map((_, j) => {
                    const [row, column] = isOne ? [j, i] : [i, j];
                    return rowOf(row).visible[column] ? percent(rowOf(row).weights[column]) : "–";
                  }),
                ]),
              })}
            />
          </div>
        </div>
      </section>
    </Report>
  );
}
