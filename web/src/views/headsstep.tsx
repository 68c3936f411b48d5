// All heads of all layers on one scale, with measures of each and the effect of removing it.

import { headName } from "../draw/geometry";
import { decimal, percent, signed } from "../draw/numbers";
import { argmax } from "../engine/arithmetic";
import { measureHead, type Measures } from "../engine/influence";
import { logOdds } from "../engine/predict";
import { Table, TableButton, Toggle } from "../parts/controls";
import { gridEvents } from "../parts/grid";
import { Term } from "../parts/term";
import { toggled } from "../state/state";
import { current, store } from "../state/store";
import { Effect, Frame, Question, Try } from "./frame";
import { WeightThumb } from "./strip";

const MEASURES: { name: keyof Measures; text: string; write: (value: number) => string }[] = [
  { name: "entropy", text: "Entropy, bits", write: decimal },
  { name: "distance", text: "Distance, patches", write: decimal },
  { name: "itself", text: "On itself", write: percent },
  { name: "blank", text: "On blank patches", write: percent },
];

export function HeadsStep() {
  const { config, run, blank, prediction: { best }, layer: nowLayer, head: nowHead, removed } = current();
  const { depth, numHeads, tokens } = config;
  const { payload: { roles }, influence } = store;
  const heads = run.layers.flatMap((layerRun, layer) =>
    layerRun.heads.map(({ weights }, head) => {
      const place = layer * numHeads + head;
      const after = influence.value?.removed[place];
      const change = after ? logOdds(after, best) - logOdds(run.probabilities, best) : null;
      return { place, layer, head, weights, after, change, name: headName(layer, head), isOff: removed.includes(place) };
    }),
  );
  const now = heads[nowLayer * numHeads + nowHead];
  const found = measureHead(now.weights, config, blank);
  const measures = MEASURES.filter(({ name }) => name !== "blank" || config.readsDigits);
  return (
    <Frame
      title={`${depth * numHeads} heads, side by side`}
      text="Each square is one head: rows are queries, columns are keys, bright is a large weight. A head has a role only if it attends to something more than untrained heads ever do."
    >
      <div class="heads">
        <div
          class="head-grid"
          style={{ "--heads": numHeads }}
          role="group"
          aria-label="Heads. Arrow keys move between them"
          {...gridEvents({
            name: "place",
            isPicker: true,
            choose: (place) => store.pickHead(Math.floor(place / numHeads), place % numHeads),
          })}
        >
          {run.layers.map((_, row) => (
            <div class="head-row" key={row}>
              <span class="layer-name">L{row + 1}</span>
              {heads.slice(row * numHeads, (row + 1) * numHeads).map(({ place, layer, head, weights, change, isOff }) => (
                <button
                  type="button"
                  key={head}
                  class={`head-card ${place === now.place ? "now" : ""} ${isOff ? "removed" : ""}`}
                  aria-pressed={place === now.place}
                  data-place={place}
                  tabIndex={place === now.place ? 0 : -1}
                >
                  {isOff ? <span class="none" /> : <WeightThumb weights={weights} tokens={tokens} />}
                  <span class="caption">
                    <b><span class="hidden">L{layer + 1} </span>H{head + 1}</b>
                    <span class={change === null ? "" : change < -0.005 ? "fall" : change > 0.005 ? "rise" : ""}>
                      {isOff ? "removed" : change === null ? "" : signed(change)}
                    </span>
                  </span>
                  {roles && <span class="role">{roles[place].replace(/;.*| \(.*/, "")}</span>}
                </button>
              ))}
            </div>
          ))}
        </div>
        <div class="aside">
          <Table
            caption={now.name + (roles ? `: ${roles[now.place]}` : "")}
            columns={["measure", "here"]}
            rows={measures.map(({ name, text, write }) => [text, write(found[name])])}
          />
          <Question
            id={`head ${now.place}`}
            text={`Without ${now.name}, does the prediction stay?`}
            options={["it stays", "it changes"]}
            correct={now.after && argmax(now.after) !== best ? 1 : 0}
            explain={
              now.after
                ? `${argmax(now.after) === best ? "It stays" : "It changes from"} ${config.classNames[best]}, whose log-odds change by ${signed(now.change!)}. Most heads can be removed one at a time; others do similar work.`
                : "This is being computed."
            }
          />
          <Try>
            <Toggle on={!now.isOff} toggle={() => store.set({ removed: toggled(removed, now.place) })}>
              {now.name} {now.isOff ? "removed" : "in use"}
            </Toggle>
            <Effect />
          </Try>
          <p class="small">
            Numbers: change of the prediction's <Term name="log-odds" /> without that head. <Term name="entropy">Entropy</Term>: how evenly it spreads its weight.{" "}
            {roles && "Roles: measured on training digits against untrained heads."}
          </p>
          <TableButton
            caption="Measures of every head for this picture"
            columns={["head", ...measures.map(({ text }) => text), "removed, log-odds", ...(roles ? ["role"] : [])]}
            rows={() =>
              heads.map(({ name, place, weights, change }) => {
                const all = measureHead(weights, config, blank);
                const written = measures.map((measure) => measure.write(all[measure.name]));
                return [name, ...written, change === null ? "…" : signed(change), ...(roles ? [roles[place]] : [])];
              })
            }
          />
        </div>
      </div>
    </Frame>
  );
}
