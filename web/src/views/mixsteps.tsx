// From weights to the next layer: the weighted sum of values, joining heads, the MLP, and from the last
// tokens to the prediction.

import { VectorCanvas } from "../draw/canvas";
import { css, isLight, largestSize, roundDomain, shareColour } from "../draw/colours";
import { headName, tokenName, tokenShort } from "../draw/geometry";
import { decimal, multiple, percent, points, scientific } from "../draw/numbers";
import { argmax, norm, ranked, row } from "../engine/arithmetic";
import { TokenBars, VectorStrip } from "../parts/bars";
import { TableButton, Toggle, usePlayer } from "../parts/controls";
import { Formula, Frac, named } from "../parts/formula";
import { sentenceOf } from "../parts/prediction";
import { Term } from "../parts/term";
import { toggled } from "../state/state";
import { current, shownPair, store } from "../state/store";
import { Effect, Frame, isOpen, Question } from "./frame";

const MAX_TERMS = 5; // of the sum that have a line of their own

export function MixStep() {
  const { config, run, stages, prediction, query, layer, head, masked } = current();
  const { hover } = store;
  const { tokens, headDim } = config;
  const weights = row(stages.weights, query, tokens);
  const valueOf = (token: number): Float64Array => row(stages.value, token, headDim);
  const sumOf = (group: number[]): Float64Array =>
    new Float64Array(headDim).map((_, i) => group.reduce((sum, token) => sum + weights[token] * valueOf(token)[i], 0));
  const order = ranked(weights);
  const [listed, rest] = [order.slice(0, MAX_TERMS), order.slice(MAX_TERMS)];
  const terms = [...listed.map((token) => [token]), ...(rest.length ? [rest] : [])];
  const player = usePlayer(terms.length, [query, layer, head, masked.length], 700);
  const { key } = shownPair();
  const domain = largestSize(...listed.map(valueOf), row(stages.context, query, headDim)) || 1;
  const target = masked[0] ?? order[0]; // a masked token has no weight, but keeps the switch
  const { best } = prediction;
  const changeOf = (token: number): string => {
    const after = store.influence.value?.masked[token];
    return after ? points(after[best] - run.probabilities[best]) : "…";
  };
  return (
    <Frame
      title="Context: the weighted sum of the values"
      text="The value of each token, multiplied by its weight, is added up. The sum, called context, is the output of this head for the query token: mostly the values of the patches that it attends to."
      formula={
        <Formula>
          {`*z_${tokenShort(query, config)} = ∑_j w_${tokenShort(query, config)},j *v_j = `}
          {order.slice(0, 3).map((token) => `${decimal(weights[token])} *v_${tokenShort(token, config)} + `)}
          …
        </Formula>
      }
      player={{ player, label: "Add up the values", text: `${player.at} of ${terms.length} added` }}
      domain={domain}
      table={{
        caption: `Tokens that ${tokenName(query, config)} attends to, ${headName(layer, head)}`,
        columns: ["key", "weight", "× uniform", "‖w·v‖", "if masked, points"],
        rows: () =>
          order.map((token) => {
            const weight = weights[token];
            return [tokenName(token, config), percent(weight), multiple(weight * tokens), decimal(weight * norm(valueOf(token))), changeOf(token)];
          }),
      }}
      question={{
        id: `mask ${target}`,
        text: `If no query may attend to ${tokenName(target, config)}${masked.length ? "" : ", which gets the largest weight here"}, in any layer, does the prediction change?`,
        options: ["no", "yes"],
        correct: isMaskingHarmless(target) ? 0 : 1,
        explain: "A large weight does not make a patch important: the other weights of each row grow and take its place. Only the experiment shows what the prediction depends on.",
      }}
      trial={
        <>
          <Toggle on={masked.includes(target)} toggle={() => store.set({ masked: toggled(masked, target) })}>
            Mask {tokenName(target, config)} in all layers
          </Toggle>
          <Effect />
        </>
      }
    >
      <div class="terms">
        {terms.map((group, i) => {
          const token = group.length === 1 ? group[0] : null;
          const weight = group.reduce((all, one) => all + weights[one], 0);
          return (
            <div
              key={i}
              class={`term ${i < player.at ? "added" : ""} ${token === key ? "now" : ""}`}
              onPointerEnter={() => {
                if (token !== null) hover.value = { query, key: token };
              }}
              onPointerLeave={() => {
                hover.value = {};
              }}
            >
              <span class="weight" style={{ "--share": weight, "--colour": css(shareColour(weight)) }}>
                <b>{percent(weight)}</b>
              </span>
              <span>× {token === null ? `${group.length} more values` : `v of ${tokenName(token, config)}`}</span>
              {token === null ? <span /> : <VectorCanvas values={valueOf(token)} domain={domain} />}
              <span class="small">=</span>
              <VectorCanvas values={sumOf(group)} domain={domain} />
            </div>
          );
        })}
        <div class="term total">
          <b>{player.at < terms.length ? `sum of ${player.at}` : "context z"}</b>
          <span />
          <span />
          <span class="small">Σ</span>
          <VectorCanvas values={sumOf(terms.slice(0, player.at).flat())} domain={domain} label={`Sum of ${player.at} terms`} />
        </div>
      </div>
    </Frame>
  );
}

/** Whether the prediction stays if no query attends to the token. */
function isMaskingHarmless(token: number): boolean {
  const [without, within] = [[token], []].map((masked) => store.resultOf({ ...store.state.value, masked }).prediction?.best);
  return without === within;
}

export function JoinStep() {
  const { config, layerRun, query, layer, removed, reversed } = current();
  const { embedDim, headDim, numHeads } = config;
  const of = (all: Float64Array): Float64Array => row(all, query, embedDim);
  const contexts = layerRun.heads.map(({ context }) => row(context, query, headDim));
  const player = usePlayer(4, [query, layer], 800);
  const rows = [
    { name: "token x", values: of(layerRun.input) },
    { name: <>+ heads joined by W<sub>O</sub></>, values: of(layerRun.projected) },
    { name: "= after attention", values: of(layerRun.afterAttention), isTotal: true },
    { name: "+ MLP", values: of(layerRun.mlpOutput) },
    { name: `= token after layer ${layer + 1}`, values: of(layerRun.output), isTotal: true },
  ];
  const domain = largestSize(...rows.map((one) => one.values)) || 1;
  return (
    <Frame
      title="Heads join, then an MLP processes each token alone"
      text={<>The contexts of all {numHeads} heads, side by side, go through one matrix and are added to the token. Then a small network, the <Term name="MLP" />, changes each token by itself. That is one layer; it happens {config.depth} times.</>}
      formula={
        <Formula>
          {`*x ← *x + *W_O [ ${contexts.slice(0, 4).map((_, i) => `*z^${i + 1}`).join(" ; ")} ${numHeads > 4 ? "…" : ""} ] ,\u2003 *x ← *x + MLP ( LN ( *x ) )`}
        </Formula>
      }
      readout={<><b>L{layer + 1}:</b> {tokenName(query, config)} is shown.</>}
      player={{ player, label: "Add the parts", text: `${player.at} of 4` }}
      domain={domain}
      table={{
        caption: `Token of ${tokenName(query, config)} in layer ${layer + 1}`,
        columns: ["i", "token", "heads joined", "after attention", "MLP", "output"],
        rows: () => Array.from({ length: embedDim }, (_, i) => [i + 1, ...rows.map((one) => decimal(one.values[i]))]),
      }}
      trial={
        <>
          <span>Switch heads off above, or change only the values:</span>
          <Toggle on={reversed} toggle={() => store.set({ reversed: !reversed })}>Values of layer {layer + 1} in reverse order</Toggle>
          <Effect />
          {reversed && <p class="small">The weights of this layer do not change: they depend on queries and keys alone.</p>}
        </>
      }
    >
      <div class="heads-joined" style={{ "--heads": Math.min(numHeads, 4) }}>
        {contexts.map((context, head) => {
          const place = layer * numHeads + head;
          const isRemoved = removed.includes(place);
          return (
            <div key={head} class={`head-context ${isRemoved ? "removed" : ""}`}>
              <span>{headName(layer, head)}</span>
              {isRemoved ? <span class="vector none" /> : <VectorCanvas values={context} domain={largestSize(...contexts) || 1} />}
              <Toggle on={!isRemoved} toggle={() => store.set({ removed: toggled(removed, place) })}>
                <span class="hidden">{headName(layer, head)} </span>
                {isRemoved ? "removed" : "in use"}
              </Toggle>
            </div>
          );
        })}
      </div>
      <div class="strips">
        {rows.map(({ name, values: numbers, isTotal }, at) => (
          <VectorStrip key={at} name={name} values={numbers} domain={domain} class={`${isTotal ? "total" : ""} ${player.at < at ? "waiting" : ""}`}>
            <span class="small">{decimal(norm(numbers))}</span>
          </VectorStrip>
        ))}
      </div>
    </Frame>
  );
}

export function PredictionStep() {
  const { config, run, prediction, lens } = current();
  const { classNames, depth } = config;
  const { best } = prediction;
  const bars = { names: classNames, now: best, height: 130 };
  const bests = lens.map(argmax);
  const first = bests.findLastIndex((one) => one !== bests[depth]) + 1; // from there on the final prediction
  const name = named(classNames[best]);
  const sum = run.logits.reduce((all, logit) => all + Math.exp(logit), 0);
  const hasClassToken = config.numPrefixTokens > 0;
  const pooled = hasClassToken
    ? "The class token of the last layer is normalised. One matrix turns it"
    : `The ${config.patches} tokens of the last layer are normalised and averaged. One matrix turns the mean`;
  return (
    <Frame
      title="One vector, one number for each class, one prediction"
      text={<>{pooled} into one score for each class, its <Term name="logit" />, and softmax turns the logits into probabilities.</>}
      formula={
        <Formula>
          {`P ( ${name} ) = `}
          <Frac top={`e^ℓ_${name}`} bottom="∑_c e^ℓ_c" /><mo>=</mo>
          <Frac top={`e^${decimal(run.logits[best])}`} bottom={sum > 1e5 ? scientific(sum, 2) : decimal(sum)} />
          {` = ${percent(run.probabilities[best])}`}
        </Formula>
      }
      readout=""
    >
      <div class="strips">
        <VectorStrip name={hasClassToken ? "class token" : "mean of the tokens"} values={run.pooled} domain={largestSize(run.pooled) || 1} />
      </div>
      <div class="pair">
        <section>
          <h3>Logits</h3>
          <TokenBars label="Logit of each class" {...bars} values={run.logits} domain={roundDomain(largestSize(run.logits))} signed />
        </section>
        <section>
          <h3>Probabilities, %</h3>
          <TokenBars label="Probability of each class" {...bars} values={run.probabilities} domain={1} text={(value) => (value >= 0.005 ? percent(value).replace("\u202f%", "") : "")} />
        </section>
      </div>
      <p class="revealed">{sentenceOf(prediction, classNames, config.readsDigits)}</p>
      <section class="lens-holder">
        <div class="row">
          <h3><Term name="logit lens">Logit lens</Term>: the prediction if the model ended after each layer</h3>
          <TableButton
            caption="Logit lens: probabilities from the classifier applied after every layer"
            columns={["after layer", ...classNames]}
            rows={() => lens.map((shares, layer) => [layer, ...shares.map(percent)])}
          />
        </div>
        <Question
          id="lens"
          text={`After which of the ${depth} layers does the final prediction, ${classNames[best]}, come first and stay?`}
          options={lens.map((_, i) => (i === 0 ? "before the first" : String(i)))}
          correct={first}
          explain={`${first === 0 ? "Even before the first layer" : `From layer ${first} on`}, the prediction is ${classNames[best]}. The classifier was trained on the last layer only, so for earlier layers this is only approximate.`}
        />
        {!isOpen("lens") && (
          <ol class="lens-row" start={0}>
            {lens.map((shares, layer) => {
              const share = shares[bests[layer]];
              const colour = shareColour(share);
              return (
                <li key={layer} class={isLight(colour) ? "light" : "dark"} style={{ background: css(colour) }}>
                  <span>after {layer}</span> <b>{classNames[bests[layer]]}</b> <span>{percent(share)}</span>
                </li>
              );
            })}
          </ol>
        )}
      </section>
    </Frame>
  );
}
