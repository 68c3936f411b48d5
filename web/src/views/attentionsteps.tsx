// One head of attention: query, key and value, scores, scaling, softmax.

import { css, largestSize, roundDomain, shareColour, signedColour, weightColour } from "../draw/colours";
import { headName, tokenName, tokenShort } from "../draw/geometry";
import { decimal, exactPercent, multiple, percent, points } from "../draw/numbers";
import { argmax, norm, row, softmax } from "../engine/arithmetic";
import type { Stages } from "../engine/attention";
import { trainedScale } from "../engine/config";
import { unscaledTemperature } from "../engine/interventions";
import { TokenBars, VectorBars, VectorStrip, Waterfall } from "../parts/bars";
import { Choice, Player, Slider, TableButton, Toggle, usePlayer } from "../parts/controls";
import { Formula, Frac } from "../parts/formula";
import { Matrix } from "../parts/matrix";
import { pairLabel } from "../parts/readout";
import { ScaleChoice, SignedScale, WeightScale } from "../parts/scale";
import { SCALE_MODES, TEMPERATURES, isUnscaled } from "../state/state";
import { chosenHead, shownPair, type Store } from "../state/store";
import { DigitRail, Frame, Question, Try, sentence, strongest } from "./frame";
import { Effect } from "./inputsteps";

/** The numbers of a pair of tokens in the chosen head; without `withKey`, of the query and itself until one is pointed at. */
function pairOf(store: Store, head: Stages, withKey = true) {
  const { query, key: chosen } = shownPair(store);
  const key = withKey || store.hover.value.key !== undefined ? chosen : query;
  const { tokens, headDim } = store.config;
  const place = query * tokens + key;
  const scores = row(head.scores, query, tokens);
  const masked = row(head.masked, query, tokens);
  const powers = Array.from(masked, Math.exp);
  return {
    query,
    key,
    names: [tokenShort(query, store.config), tokenShort(key, store.config)],
    q: row(head.query, query, headDim),
    k: row(head.key, key, headDim),
    scores,
    scaledRow: row(head.scaled, query, tokens),
    weights: row(head.weights, query, tokens),
    powers,
    sum: powers.reduce((sum, value) => sum + value, 0),
    score: head.scores[place],
    scaled: head.scaled[place],
    weight: head.weights[place],
  };
}

function namesOf({ config }: Store): string[] {
  return Array.from({ length: config.tokens }, (_, token) => tokenShort(token, config));
}

/** Bars of the query's row: one for each key token, which can be pointed at or chosen. */
function keysOf(store: Store, now: number) {
  const { query } = store.state.value;
  return {
    names: namesOf(store),
    now,
    pick: (key: number) => store.set({ key }),
    hover: (key: number | null) => {
      store.hover.value = key === null ? {} : { query, key };
    },
  };
}

export function QkvStep({ store }: { store: Store }) {
  const { config, state } = store;
  const head = chosenHead(store);
  const { query, layer, head: number } = state.value;
  const { headDim, embedDim } = config;
  const vectors = head && [head.query, head.key, head.value].map((all) => row(all, query, headDim));
  const domain = vectors ? largestSize(...vectors) || 1 : 1;
  const input = store.result.value.run?.layers[layer].normed;
  return (
    <Frame
      store={store}
      title="Each token makes a query, a key and a value"
      text={
        <>
          Three matrices of {headName(layer, number)} turn the normalised token into three vectors. <b class="q">Query</b>: the vector
          compared with all keys. <b class="k">Key</b>: the vector that queries are compared with. <b class="v">Value</b>: the vector that is added up by the weights.
        </>
      }
      formula={<Formula>{"*q = *W_Q LN ( *x ) + *b_Q ,\u2003 *k = *W_K LN ( *x ) + *b_K ,\u2003 *v = *W_V LN ( *x ) + *b_V"}</Formula>}
      rail={<DigitRail store={store} arcs={false}><p class="readout"><b>{headName(layer, number)}</b>, {tokenName(query, config)}</p></DigitRail>}
    >
      {vectors && input && (
        <>
          <div class="strips">
            <VectorStrip name={`token, ${embedDim} numbers`} values={row(input, query, embedDim)} domain={largestSize(row(input, query, embedDim)) || 1} />
          </div>
          {(["q", "k", "v"] as const).map((kind, i) => (
            <VectorBars key={kind} kind={kind} name={kind} values={vectors[i]} domain={domain} height={64} label={`${["Query", "Key", "Value"][i]} of ${tokenName(query, config)}`} />
          ))}
          <div class="row">
            <p class="small">
              {headDim} numbers each. Lengths: ‖q‖ = {decimal(norm(vectors[0]))}, ‖k‖ = {decimal(norm(vectors[1]))}, ‖v‖ = {decimal(norm(vectors[2]))}
            </p>
            <TableButton
              data={() => ({
                caption: `Query, key and value of ${tokenName(query, config)}, ${headName(layer, number)}`,
                columns: ["i", "q", "k", "v"],
                rows: Array.from({ length: headDim }, (_, i) => [i + 1, ...vectors.map((vector) => decimal(vector[i]))]),
              })}
            />
          </div>
          <Try>
            <Choice
              label="Another head"
              options={Array.from({ length: config.numHeads }, (_, value) => ({ value, text: `H${value + 1}`, name: headName(layer, value) }))}
              value={number}
              choose={(value) => store.pickHead(layer, value)}
            />
            <span class="small">It has its own matrices: other queries, other keys, other values.</span>
          </Try>
        </>
      )}
    </Frame>
  );
}

export function ScoresStep({ store }: { store: Store }) {
  const { config, state } = store;
  const head = chosenHead(store);
  const { query, layer, head: number } = state.value;
  const id = `score ${query} ${layer} ${number}`;
  const isAsking = store.guesses.value[id] === undefined;
  const pair = head && pairOf(store, head, !isAsking); // the chosen key is the right guess
  const player = usePlayer(config.headDim, [query, state.value.key, layer, number], 380);
  const best = pair ? argmax(row(head.scores, query, config.tokens)) : 0;
  const [q, k] = pair?.names ?? [];
  const products = pair ? pair.q.map((value, i) => value * pair.k[i]) : [];
  const domain = pair ? largestSize(pair.q, pair.k) || 1 : 1;
  return (
    <Frame
      store={store}
      title="A score measures how well a query matches a key"
      text={
        <>
          Multiply query and key component by component, and add up the products: the dot product. The larger the sum, the better the key
          matches the query.
        </>
      }
      formula={pair && <Formula>{`s_${q},${k} = *q_${q} · *k_${k} = ∑_i q_i k_i = ${isAsking ? "?" : decimal(pair.score)}`}</Formula>}
      rail={<DigitRail store={store} question={{ id, isPatch: true }} />}
    >
      {pair && (
        <>
          <Question
            store={store}
            id={id}
            text={`Which key matches the query of ${tokenName(query, config)} best in ${headName(layer, number)}? Point at patches to compare their keys with it.`}
            correct={best}
            explain={() =>
              `The best match is ${tokenName(best, config)}, with a score of ${decimal(head.scores[query * config.tokens + best])}.`
            }
          />
          <VectorBars kind="q" name={`q${q}`} values={pair.q} domain={domain} height={32} label={`Query of ${tokenName(pair.query, config)}`} />
          <VectorBars kind="k" name={`k${k}`} values={pair.k} domain={domain} height={32} label={`Key of ${tokenName(pair.key, config)}`} />
          {!isAsking && (
            <>
              <VectorBars kind="product" name="q·k" values={products} domain={largestSize(products) || 1} upTo={player.at} height={32} label="Products" />
              <Waterfall values={products} upTo={player.at} label={`Sum of the products: ${decimal(pair.score)}`} />
              <div class="row">
                <Player player={player} label="Add up the products" text={`${player.at} of ${config.headDim}`} />
                <TableButton
                  data={() => ({
                    caption: `Query of ${tokenName(pair.query, config)} and key of ${tokenName(pair.key, config)}, ${headName(layer, number)}`,
                    columns: ["i", "q", "k", "q · k"],
                    rows: [
                      ...Array.from(products, (product, i) => [i + 1, decimal(pair.q[i]), decimal(pair.k[i]), decimal(product)]),
                      ["sum", "", "", decimal(pair.score)],
                    ],
                  })}
                />
              </div>
              <TokenBars
                {...keysOf(store, pair.key)}
                label={`Scores of ${tokenName(pair.query, config)} with every key`}
                values={pair.scores}
                domain={roundDomain(largestSize(head.scores))}
                signed
                height={64}
              />
            </>
          )}
        </>
      )}
    </Frame>
  );
}

const SHRINKING = 10; // steps of the presentation

export function ScaleStep({ store }: { store: Store }) {
  const { config, state } = store;
  const head = chosenHead(store);
  const pair = head && pairOf(store, head);
  const { query, layer, head: number, temperature } = state.value;
  const player = usePlayer(SHRINKING, [query, layer, number, temperature], 90);
  const isOff = isUnscaled(state.value, config);
  const [q, k] = pair?.names ?? [];
  const factor = trainedScale(config) / temperature;
  const share = player.at / SHRINKING;
  const shown = pair ? pair.scores.map((score) => score * (1 + share * (factor - 1))) : [];
  const domain = head ? roundDomain(largestSize(head.scores)) : 1;
  const [raw, now] = pair ? [softmax(pair.scores), softmax(Array.from(shown))] : [[], []];
  const root = config.attentionScale === "sqrt";
  return (
    <Frame
      store={store}
      title={root ? "Dividing by √d keeps softmax from becoming one-hot" : "Scores are scaled before softmax"}
      text={
        root
          ? `Longer vectors give larger scores. Dividing by √d, with d = ${config.headDim} components, keeps them moderate at any length, so that more than one key can get weight and gradients do not vanish.`
          : `This model multiplies its scores by ${decimal(trainedScale(config), 3)} before softmax.`
      }
      formula={
        pair && (
          <Formula>
            {root && !isOff ? (
              <><Frac top={`*q_${q} · *k_${k}`} bottom="√d" /><mo>=</mo><Frac top={decimal(pair.score)} bottom={`√${config.headDim}`} /></>
            ) : (
              <mn>{decimal(pair.score)}</mn>
            )}
            {!root && !isOff && ` × ${decimal(trainedScale(config), 3)}`}
            {temperature !== 1 && !isOff && ` ÷ ${decimal(temperature)}`}
            {` = ${decimal(pair.scaled)}`}
            {isOff && <mtext>, not divided: the switch is off</mtext>}
          </Formula>
        )
      }
      rail={<DigitRail store={store} />}
    >
      {pair && (
        <>
          <div class="pair">
            <section>
              <h3>Scores of {tokenName(pair.query, config)}</h3>
              <TokenBars
                {...keysOf(store, pair.key)}
                label={`Scores before and after scaling, query ${tokenName(pair.query, config)}`}
                values={shown}
                ghost={pair.scores}
                domain={domain}
                signed
                height={190}
              />
              <p class="small">Outlines: before scaling. One axis for both.</p>
            </section>
            <section>
              <h3>Weights after softmax</h3>
              <TokenBars {...keysOf(store, pair.key)} label="Weights with and without scaling" values={now} ghost={raw} domain={1} height={190} />
              <p class="small">
                Largest weight: {percent(Math.max(...now))}; without scaling {percent(Math.max(...raw))}.
              </p>
            </section>
          </div>
          <div class="row">
            <Player player={player} label="Shrink the scores" text={`× ${decimal(1 + share * (factor - 1))}`} />
            <TableButton
              data={() => ({
                caption: `Scores and scaled scores of ${tokenName(pair.query, config)}, ${headName(layer, number)}`,
                columns: ["key", "score", "scaled", "weight", "weight without scaling"],
                rows: namesOf(store).map((name, i) => [name, decimal(pair.scores[i]), decimal(pair.scaledRow[i]), percent(pair.weights[i]), percent(raw[i])]),
              })}
            />
          </div>
          {root && (
            <>
              <Question
                store={store}
                id="unscaled"
                text="What if the trained model runs without the division, in every layer?"
                options={["the prediction stays", "the prediction changes"]}
                correct={staysUnscaled(store) ? 0 : 1}
                explain={() => "Rows become nearly one-hot: each query takes the value of one key alone. The model was trained with the division, so its weights do not fit scores of that size."}
              />
              <Try>
                <Toggle
                  on={!isOff}
                  toggle={() => store.set({ temperature: isOff ? 1 : unscaledTemperature(config) })}
                >
                  Divide by √{config.headDim}, in all {config.depth} layers
                </Toggle>
                <Effect store={store} />
              </Try>
            </>
          )}
        </>
      )}
    </Frame>
  );
}

/** Whether the trained model makes the same prediction without scaling. */
function staysUnscaled(store: Store): boolean {
  const trained = store.trained.value;
  const without = store.resultOf({ ...store.state.value, temperature: unscaledTemperature(store.config) });
  return trained.predictions[trained.digit]?.best === without.predictions[without.digit]?.best;
}

const BRACKETS = [
  { text: "under 25 %", below: 0.25 },
  { text: "25 to 50 %", below: 0.5 },
  { text: "50 to 75 %", below: 0.75 },
  { text: "over 75 %", below: Infinity },
];

export function SoftmaxStep({ store }: { store: Store }) {
  const { config, state } = store;
  const head = chosenHead(store);
  const pair = head && pairOf(store, head);
  const { query, layer, head: number, temperature } = state.value;
  const player = usePlayer(2, [query, layer, number], 1100);
  const id = `softmax ${query} ${layer} ${number}`;
  const best = strongest(store, query);
  const isAsking = store.guesses.value[id] === undefined;
  const [q, k] = pair?.names ?? [];
  const even = 1 / config.tokens;
  const stages = [
    { title: "Scaled scores", values: pair?.scaledRow ?? [] },
    { title: "Exponentials: all positive, large scores stand out", values: pair?.powers ?? [] },
    { title: "Divided by their sum: shares of 100 %", values: pair?.weights ?? [] },
  ];
  const stage = stages[isAsking ? 0 : player.at];
  const ordered = Array.from(pair ? row(head!.scaled, query, config.tokens) : [0, 0]).sort((a, b) => b - a);
  const top = head ? head.weights[query * config.tokens + best] : 0;
  return (
    <Frame
      store={store}
      title="Softmax turns scores into shares of 100 %"
      text="Each scaled score becomes a power of e, and is divided by the sum of its row. These shares are the attention weights: the factor of each value in the sum."
      formula={
        pair && (
          <Formula>
            {`w_${q},${k} = `}
            <Frac top={`e^s_${q},${k}`} bottom={`∑_j e^s_${q},j`} />
            {!isAsking && (
              <>
                <mo>=</mo><Frac top={`e^${decimal(pair.scaled)}`} bottom={decimal(pair.sum)} />
                <mo>=</mo><Frac top={decimal(Math.exp(pair.scaled))} bottom={decimal(pair.sum)} />
                <mo>=</mo><mn>{percent(pair.weight)}</mn>
              </>
            )}
          </Formula>
        )
      }
      rail={<DigitRail store={store} question={{ id, isPatch: false }} />}
    >
      {pair && (
        <>
          <Question
            store={store}
            id={id}
            text={`The largest scaled score of ${tokenName(query, config)} in ${headName(layer, number)} is ${decimal(ordered[0])}, the next ${decimal(ordered[1])}. What share of 100 % does the largest get?`}
            options={BRACKETS.map(({ text }) => text)}
            correct={BRACKETS.findIndex(({ below }) => top < below)}
            explain={() =>
              `${sentence(tokenName(best, config))} gets ${percent(top)}, ${multiple(top / even)} the uniform weight. Each difference of ${decimal(Math.LN2)} in the scores doubles the share.`
            }
          />
          <div class="pair softmax">
            <section>
              <h3>{stage.title}</h3>
              <TokenBars
                {...keysOf(store, pair.key)}
                label={`${stage.title}, query ${tokenName(pair.query, config)}`}
                values={stage.values}
                signed={stage === stages[0]}
                domain={stage === stages[2] ? 1 : roundDomain(largestSize(stage.values))}
                height={150}
                text={stage === stages[1] ? (value) => decimal(value, value > 99 ? 0 : 1) : undefined}
                mark={stage === stages[2] ? { value: even, text: `uniform ${exactPercent(even)}` } : undefined}
              />
              {!isAsking && (
                <>
                  <ShareLine weights={pair.weights} names={namesOf(store)} />
                  <Player player={player} label="From scores to shares" text={`${player.at + 1} of 3`} />
                  <Try>
                    <Slider label="Temperature T" {...TEMPERATURES} step={0.05} value={temperature} text={decimal(temperature)} change={(value) => store.set({ temperature: value })} />
                    <span class="small">divides all scores, in every layer</span>
                    <Effect store={store} />
                  </Try>
                </>
              )}
            </section>
            {!isAsking && <AllRows store={store} />}
          </div>
        </>
      )}
    </Frame>
  );
}

/** The whole matrix, with its scale; the difference from a pinned result, if there is another one. */
function AllRows({ store }: { store: Store }) {
  const { scale } = store.state.value;
  const pinned = otherPinned(store);
  return (
    <section class="all-rows">
      <div class="row">
        <h3>All rows</h3>
        <Pin store={store} />
        <TableButton data={() => weightTable(store)} />
      </div>
      <WeightMatrix store={store} />
      {pinned ? (
        <>
          <SignedScale domain={100} />
          <p class="small">Now minus pinned ({pinned.name}), in points</p>
        </>
      ) : (
        <>
          <WeightScale mode={scale} even={1 / store.config.tokens} largest={largestSize(chosenHead(store)?.weights ?? [])} />
          <ScaleChoice modes={SCALE_MODES} mode={scale} choose={(value) => store.set({ scale: value })} />
        </>
      )}
    </section>
  );
}

/** The weights of a row side by side: together they fill the line. */
function ShareLine({ weights, names }: { weights: Float64Array; names: string[] }) {
  return (
    <div class="share-line" aria-hidden="true">
      {Array.from(weights, (weight, i) => (
        <span key={i} style={{ width: `${weight * 100}%`, background: css(shareColour(weight)) }} class={weight > 0.25 ? "light" : ""}>
          {weight > 0.06 ? names[i] : ""}
        </span>
      ))}
    </div>
  );
}

/** Keeps this result, so that the matrix shows the difference of the next picture or setting from it. */
function Pin({ store }: { store: Store }) {
  const { pinned, result, config, changes } = store;
  const { run, predictions, digit } = result.value;
  if (!run) return null;
  const name = [config.classNames[predictions[digit].best], ...changes.value].join(", ");
  return (
    <button type="button" class="quiet" aria-pressed={pinned.value !== null} onClick={() => (pinned.value = pinned.value ? null : { name, run })}>
      {pinned.value ? "Unpin" : "Pin to compare"}
    </button>
  );
}

function WeightMatrix({ store }: { store: Store }) {
  const { config, state, result } = store;
  const head = chosenHead(store);
  if (!head) return null;
  const { tokens } = config;
  const { scale, layer, head: number } = state.value;
  const even = 1 / tokens;
  const largest = largestSize(head.weights);
  const shown = shownPair(store);
  const at = (query: number, key: number): number => head.weights[query * tokens + key];
  const names = namesOf(store);
  const before = otherPinned(store)?.run.layers[layer].heads[number].weights;
  const change = (query: number, key: number): number => at(query, key) - (before?.[query * tokens + key] ?? 0);
  return (
    <Matrix
      label={`${before ? "Difference of attention weights" : "Attention weights"}, ${headName(layer, number)}`}
      rows={names}
      columns={names}
      class={tokens > 20 ? "dense" : ""}
      colourAt={(query, key) => (before ? signedColour(change(query, key), 1) : weightColour(at(query, key), scale, even, largest))}
      textAt={(query, key) => (tokens > 20 ? "" : before ? (Math.abs(change(query, key)) >= 0.1 ? decimal(change(query, key) * 100, 0) : "") : at(query, key) >= 1.6 * even ? decimal(at(query, key) * 100, 0) : "")}
      nameAt={(query, key) => {
        const weight = at(query, key);
        if (before) return `${tokenName(query, config)} attends to ${tokenName(key, config)}: ${points(change(query, key)).replace("−", "minus ")} points`;
        return pairLabel(tokenName(query, config), tokenName(key, config), weight, even);
      }}
      chosen={[state.value.query, state.value.key]}
      shown={[shown.query, shown.key]}
      blank={Array.from({ length: tokens }, (_, token) => Boolean(result.value.blank[token - config.numPrefixTokens]))}
      choose={(query, key) => store.set({ query, key })}
      hover={(place) => {
        store.hover.value = place ? { query: place[0], key: place[1] } : {};
      }}
    />
  );
}

/** The pinned result, unless it is the one that is shown. */
function otherPinned({ pinned, result }: Store) {
  return pinned.value && pinned.value.run !== result.value.run ? pinned.value : null;
}

export function weightTable(store: Store) {
  const { config, state } = store;
  const head = chosenHead(store);
  const names = namesOf(store);
  return {
    caption: `Attention weights, ${headName(state.value.layer, state.value.head)}: rows are queries, columns are keys`,
    columns: ["query", ...names],
    rows: names.map((name, i) => [name, ...Array.from(head ? row(head.weights, i, config.tokens) : [], percent)]),
  };
}

