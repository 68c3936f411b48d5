// All heads of all layers on one scale, with measures of each and the effect of removing it.

import { headName } from "../draw/geometry";
import { decimal, percent, signed } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { measureHead, type Measures } from "../engine/maps";
import { logOdds } from "../engine/predict";
import { Table, TableButton, Toggle } from "../parts/controls";
import { toggled } from "../state/state";
import type { Store } from "../state/store";
import { DigitRail, Frame, Question, Try } from "./frame";
import { Effect } from "./inputsteps";
import { WeightThumb } from "./strip";

const MEASURES: { name: keyof Measures; text: string; write: (value: number) => string }[] = [
  { name: "entropy", text: "Entropy, bits", write: decimal },
  { name: "distance", text: "Distance, patches", write: decimal },
  { name: "itself", text: "On itself", write: percent },
  { name: "blank", text: "On blank patches", write: percent },
  { name: "shared", text: "Most on one patch", write: percent },
];

export function HeadsStep({ store }: { store: Store }) {
  const { config, state, result, influence, usual } = store;
  const { run, blank, predictions, digit } = result.value;
  const { layer: nowLayer, head: nowHead, removed } = state.value;
  const { depth, numHeads } = config;
  const { roles } = store.payload;
  const best = predictions[digit]?.best ?? 0;
  const now = nowLayer * numHeads + nowHead;
  const isRemoved = removed.includes(now);
  const changeOf = (place: number): number | null => {
    const after = influence.value?.removed[place];
    return run && after ? logOdds(after, best) - logOdds(run.probabilities, best) : null;
  };
  const measures = run && measureHead(run.layers[nowLayer].heads[nowHead].weights, config, blank);
  const typical = usual.value?.[now];
  const after = influence.value?.removed[now];
  const stays = after ? argmax(after) === best : true;
  return (
    <Frame
      store={store}
      title={`${depth * numHeads} heads, side by side`}
      text="Each square is one head: rows are queries, columns are keys, bright is a large weight. A head has a role only if it attends to something more than untrained heads ever do."
      rail={<DigitRail store={store} />}
    >
      {run && measures && (
        <div class="heads">
          <div class="head-grid" style={{ "--heads": numHeads }} role="group" aria-label="Heads">
            {Array.from({ length: depth }, (_, layer) => (
              <div class="head-row" key={layer}>
                <span class="layer-name">L{layer + 1}</span>
                {Array.from({ length: numHeads }, (_, head) => {
                  const place = layer * numHeads + head;
                  const isOff = removed.includes(place);
                  const change = changeOf(place);
                  return (
                    <button
                      type="button"
                      key={head}
                      class={`head-card ${place === now ? "now" : ""} ${isOff ? "removed" : ""}`}
                      aria-pressed={place === now}
                      onClick={() => store.pickHead(layer, head)}
                    >
                      {isOff ? <span class="none" /> : <WeightThumb weights={run.layers[layer].heads[head].weights} tokens={config.tokens} />}
                      <span class="caption">
                        <b><span class="hidden">L{layer + 1} </span>H{head + 1}</b>
                        <span class={change === null ? "" : change < -0.005 ? "fall" : change > 0.005 ? "rise" : ""}>
                          {isOff ? "removed" : change === null ? "" : signed(change)}
                        </span>
                      </span>
                      {roles && <span class="role">{roles[place].replace(/;.*| \(.*/, "")}</span>}
                    </button>
                  );
                })}
              </div>
            ))}
          </div>
          <div class="aside">
            <Table
              caption={headName(nowLayer, nowHead) + (roles ? `: ${roles[now]}` : "")}
              columns={["measure", "here", "examples"]}
              rows={MEASURES.map(({ name, text, write }) => [text, write(measures[name]), typical ? write(typical[name]) : "…"])}
            />
            <Question
              store={store}
              id={`head ${now}`}
              text={`Without ${headName(nowLayer, nowHead)}, does the prediction stay?`}
              options={["it stays", "it changes"]}
              correct={stays ? 0 : 1}
              explain={() =>
                after && run
                  ? `P(${config.classNames[best]}) goes from ${percent(run.probabilities[best])} to ${percent(after[best])}. Most heads can be removed one at a time; others do similar work.`
                  : "This is being computed."
              }
            />
            <Try>
              <Toggle on={!isRemoved} toggle={() => store.set({ removed: toggled(removed, now) })}>
                {headName(nowLayer, nowHead)} {isRemoved ? "removed" : "in use"}
              </Toggle>
              <Effect store={store} />
            </Try>
            <p class="small">
              Numbers: change of the prediction's log-odds without that head; −0.7 halves the odds.{" "}
              {roles && "Roles: measured on training digits against untrained heads, by head_roles of the Python package."}
            </p>
            <TableButton
              data={() => ({
                caption: "Measures of every head for this picture",
                columns: ["head", ...MEASURES.map(({ text }) => text), "removed, log-odds", ...(roles ? ["role"] : [])],
                rows: Array.from({ length: depth * numHeads }, (_, place) => {
                  const [layer, head] = [Math.floor(place / numHeads), place % numHeads];
                  const found = measureHead(run.layers[layer].heads[head].weights, config, blank);
                  const change = changeOf(place);
                  return [
                    headName(layer, head),
                    ...MEASURES.map(({ name, write }) => write(found[name])),
                    change === null ? "…" : signed(change),
                    ...(roles ? [roles[place]] : []),
                  ];
                }),
              })}
            />
          </div>
        </div>
      )}
    </Frame>
  );
}
