// From weights to the next layer: the weighted sum of values, joining heads, and the MLP.

import { css, largestSize, shareColour } from "../draw/colours";
import { VectorCanvas } from "../draw/canvas";
import { headName, tokenName, tokenShort } from "../draw/geometry";
import { decimal, multiple, percent, points } from "../draw/numbers";
import { norm, ranked, row } from "../engine/arithmetic";
import { VectorStrip } from "../parts/bars";
import { Choice, Player, TableButton, Toggle, usePlayer } from "../parts/controls";
import { Formula } from "../parts/formula";
import { SignedScale } from "../parts/scale";
import { toggled } from "../state/state";
import { chosenHead, shownPair, type Store } from "../state/store";
import { DigitRail, Frame, Question, Try, sentence } from "./frame";
import { Effect } from "./inputsteps";

const MAX_TERMS = 5; // of the sum that have a line of their own

export function MixStep({ store }: { store: Store }) {
  const { config, state, result } = store;
  const head = chosenHead(store);
  const { query, layer, head: number, masked, scope } = state.value;
  const { tokens, headDim } = config;
  const weights = head ? row(head.weights, query, tokens) : new Float64Array(0);
  const order = ranked(weights);
  const listed = order.slice(0, MAX_TERMS);
  const hasRest = order.length > listed.length;
  const last = listed.length + (hasRest ? 1 : 0);
  const player = usePlayer(last, [query, layer, number, masked.length], 700);
  const { key } = shownPair(store);
  const valueOf = (token: number): Float64Array => (head ? row(head.value, token, headDim) : new Float64Array(0));
  const terms = [...listed.map((token) => [token]), ...(hasRest ? [order.slice(MAX_TERMS)] : [])].map((group) => {
    const sum = new Float64Array(headDim);
    for (const token of group) valueOf(token).forEach((value, i) => (sum[i] += weights[token] * value));
    return { group, sum };
  });
  const total = new Float64Array(headDim);
  for (const { sum } of terms.slice(0, player.at)) sum.forEach((value, i) => (total[i] += value));
  const domain = head ? largestSize(...listed.map(valueOf), row(head.context, query, headDim)) || 1 : 1;
  const target = order[0];
  const isMasked = masked.includes(target);
  const best = result.value.predictions[result.value.digit]?.best ?? 0;
  const influence = store.influence.value;
  const changeOf = (token: number): number | null => {
    const after = influence?.masked[token];
    return after && result.value.run ? after[best] - result.value.run.probabilities[best] : null;
  };
  return (
    <Frame
      store={store}
      title="Context: the weighted sum of the values"
      text="The value of each token, multiplied by its weight, is added up. The sum, called context, is the output of this head for the query token: mostly the values of the patches that it attends to."
      formula={
        head && (
          <Formula>
            {`*z_${tokenShort(query, config)} = ∑_j w_${tokenShort(query, config)},j *v_j = `}
            {order.slice(0, 3).map((token) => `${decimal(weights[token])} *v_${tokenShort(token, config)} + `)}
            …
          </Formula>
        )
      }
      rail={<DigitRail store={store} />}
    >
      {head && (
        <>
          <div class="terms">
            {terms.map(({ group, sum }, i) => {
              const token = group[0];
              const isRest = group.length > 1;
              const weight = group.reduce((all, one) => all + weights[one], 0);
              return (
                <div
                  key={i}
                  class={`term ${i < player.at ? "added" : ""} ${!isRest && token === key ? "now" : ""}`}
                  onPointerEnter={() => {
                    if (!isRest) store.hover.value = { query, key: token };
                  }}
                  onPointerLeave={() => {
                    store.hover.value = {};
                  }}
                >
                  <span class="weight" style={{ "--share": weight, "--colour": css(shareColour(weight)) }}>
                    <b>{percent(weight)}</b>
                  </span>
                  <span>× {isRest ? `${group.length} more values` : `v of ${tokenName(token, config)}`}</span>
                  {isRest ? <span /> : <VectorCanvas values={valueOf(token)} domain={domain} />}
                  <span class="small">=</span>
                  <VectorCanvas values={sum} domain={domain} />
                </div>
              );
            })}
            <div class="term total">
              <b>{player.at < last ? `sum of ${player.at}` : "context z"}</b>
              <span />
              <span />
              <span class="small">Σ</span>
              <VectorCanvas values={total} domain={domain} label={`Sum of ${player.at} terms`} />
            </div>
          </div>
          <div class="row">
            <Player player={player} label="Add up the values" text={`${player.at} of ${last} added`} />
            <SignedScale domain={Number(domain.toFixed(1))} />
            <TableButton
              data={() => ({
                caption: `Tokens that ${tokenName(query, config)} attends to, ${headName(layer, number)}`,
                columns: ["key", "weight", "× uniform", "‖w·v‖", "if masked, points"],
                rows: order.map((token) => [
                  tokenName(token, config),
                  percent(weights[token]),
                  multiple(weights[token] * tokens),
                  decimal(weights[token] * norm(valueOf(token))),
                  changeOf(token) === null ? "…" : points(changeOf(token) ?? 0),
                ]),
              })}
            />
          </div>
          <Question
            store={store}
            id={`mask ${target}`}
            text={`${sentence(tokenName(target, config))} gets the largest weight. If no query may attend to it, in any layer, does the prediction change?`}
            options={["no", "yes"]}
            correct={predictedWithout(store, target) === best ? 0 : 1}
            explain={() => "A large weight does not make a patch important: the other weights of each row grow and take its place. Only the experiment shows what the prediction depends on."}
          />
          <Try>
            <Toggle on={isMasked} toggle={() => store.set({ masked: toggled(masked, target) })}>
              Mask {tokenName(target, config)}
            </Toggle>
            <Choice
              label="Where"
              hideLabel
              options={[{ value: "head", text: "this head" }, { value: "layer", text: "this layer" }, { value: "model", text: "all layers" }]}
              value={scope}
              choose={(value) => store.set({ scope: value })}
            />
            <Effect store={store} />
          </Try>
        </>
      )}
    </Frame>
  );
}

function predictedWithout(store: Store, token: number): number {
  const result = store.resultOf({ ...store.state.value, masked: [token], scope: "model" });
  return result.predictions[result.digit]?.best ?? -1;
}

export function JoinStep({ store }: { store: Store }) {
  const { config, state, result } = store;
  const { query, layer, removed, values } = state.value;
  const { embedDim, headDim, numHeads } = config;
  const run = result.value.run?.layers[layer];
  const of = (all: Float64Array): Float64Array => row(all, query, embedDim);
  const domain = run ? largestSize(...[run.input, run.projected, run.mlpOutput, run.output].map(of)) || 1 : 1;
  const contexts = run?.heads.map(({ context }) => row(context, query, headDim)) ?? [];
  const contextDomain = largestSize(...contexts) || 1;
  const player = usePlayer(4, [query, layer], 800);
  const rows = run && [
    { name: "token x", values: of(run.input), at: 0 },
    { name: <>+ heads joined by W<sub>O</sub></>, values: of(run.projected), at: 1 },
    { name: "= after attention", values: of(run.afterAttention), at: 2 },
    { name: "+ MLP", values: of(run.mlpOutput), at: 3 },
    { name: `= token after layer ${layer + 1}`, values: of(run.output), at: 4 },
  ];
  return (
    <Frame
      store={store}
      title="Heads join, then an MLP processes each token alone"
      text={`The contexts of all ${numHeads} heads, side by side, go through one matrix and are added to the token. Then a small network changes each token by itself. That is one layer; it happens ${config.depth} times.`}
      formula={
        <Formula>
          {`*x ← *x + *W_O [ ${contexts.slice(0, 4).map((_, i) => `*z^${i + 1}`).join(" ; ")} ${numHeads > 4 ? "…" : ""} ] ,\u2003 *x ← *x + MLP ( LN ( *x ) )`}
        </Formula>
      }
      rail={<DigitRail store={store} arcs={false}><p class="readout"><b>L{layer + 1}</b>, {tokenName(query, config)}</p></DigitRail>}
    >
      {run && rows && (
        <>
          <div class="heads-joined" style={{ "--heads": Math.min(numHeads, 4) }}>
            {contexts.map((context, head) => {
              const isRemoved = removed.includes(layer * numHeads + head);
              return (
                <div key={head} class={`head-context ${isRemoved ? "removed" : ""}`}>
                  <span>{headName(layer, head)}</span>
                  {isRemoved ? <span class="vector none" /> : <VectorCanvas values={context} domain={contextDomain} />}
                  <Toggle on={!isRemoved} toggle={() => store.set({ removed: toggled(removed, layer * numHeads + head) })}>
                    {isRemoved ? "removed" : "in use"}
                  </Toggle>
                </div>
              );
            })}
          </div>
          <div class="strips">
            {rows.map(({ name, values: numbers, at }) => (
              <VectorStrip key={at} name={name} values={numbers} domain={domain} class={`${at === 2 || at === 4 ? "total" : ""} ${player.at < at ? "waiting" : ""}`}>
                <span class="small">{decimal(norm(numbers))}</span>
              </VectorStrip>
            ))}
          </div>
          <div class="row">
            <Player player={player} label="Add the parts" text={`${player.at} of 4`} />
            <SignedScale domain={Number(domain.toFixed(1))} />
            <TableButton
              data={() => ({
                caption: `Token of ${tokenName(query, config)} in layer ${layer + 1}`,
                columns: ["i", "token", "heads joined", "after attention", "MLP", "output"],
                rows: Array.from({ length: embedDim }, (_, i) => [i + 1, ...rows.map((one) => decimal(one.values[i]))]),
              })}
            />
          </div>
          <Try>
            <span>Switch heads off above, or change only the values of this layer:</span>
            <Choice
              label="Values"
              hideLabel
              options={[{ value: "trained", text: "as trained" }, { value: "zero", text: "all zero" }, { value: "reversed", text: "reversed" }]}
              value={values}
              choose={(value) => store.set({ values: value })}
            />
            <Effect store={store} />
            {values !== "trained" && <p class="small">The weights of this layer do not change: they depend on queries and keys alone.</p>}
          </Try>
        </>
      )}
    </Frame>
  );
}
