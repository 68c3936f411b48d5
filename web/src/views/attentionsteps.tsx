// One head of attention: query, key and value, scores, scaling, softmax.

import { css, largestSize, roundDomain, shareColour, signedColour, weightColour } from "../draw/colours";
import { VectorCanvas } from "../draw/canvas";
import { headName, tokenName, tokenShort } from "../draw/geometry";
import { decimal, exactPercent, multiple, percent, points } from "../draw/numbers";
import { argmax, norm, row, softmax } from "../engine/arithmetic";
import type { Stages } from "../engine/attention";
import { trainedScale } from "../engine/config";
import { unscaledTemperature } from "../engine/interventions";
import { TokenBars, VectorBars, Waterfall } from "../parts/bars";
import { Choice, Player, Slider, TableButton, Toggle, usePlayer } from "../parts/controls";
import { Formula, Frac, N, O, Power, Root, Sub, Sum, V } from "../parts/formula";
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

/** Hovering or choosing a key token in a figure of the query's row. */
function keyHandlers(store: Store) {
  const { query } = store.state.value;
  return {
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
      formula={
        <Formula>
          {(["q", "k", "v"] as const).map((name, i) => (
            <mrow key={name}>
              {i > 0 && <mtext>{",\u2003"}</mtext>}
              <V bold>{name}</V>
              <O>=</O>
              <Sub of="W" bold><V>{name.toUpperCase()}</V></Sub>
              <V>LN</V><O>(</O><V bold>x</V><O>)</O><O>+</O><Sub of="b" bold><V>{name.toUpperCase()}</V></Sub>
            </mrow>
          ))}
        </Formula>
      }
      rail={<DigitRail store={store} arcs={false}><p class="readout"><b>{headName(layer, number)}</b>, {tokenName(query, config)}</p></DigitRail>}
    >
      {vectors && input && (
        <>
          <div class="strips">
            <div class="strip-row">
              <span>token, {embedDim} numbers</span>
              <VectorCanvas class="vector" values={row(input, query, embedDim)} domain={largestSize(row(input, query, embedDim)) || 1} />
            </div>
          </div>
          <VectorBars kind="q" name="q" values={vectors[0]} domain={domain} height={64} label={`Query of ${tokenName(query, config)}`} />
          <VectorBars kind="k" name="k" values={vectors[1]} domain={domain} height={64} label={`Key of ${tokenName(query, config)}`} />
          <VectorBars kind="v" name="v" values={vectors[2]} domain={domain} height={64} label={`Value of ${tokenName(query, config)}`} />
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
  const pair = head && pairOf(store, head, !isAsking); // the chosen key is the answer
  const player = usePlayer(config.headDim, [query, state.value.key, layer, number], 380);
  const best = pair ? argmax(row(head.scores, query, config.tokens)) : 0;
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
      formula={
        pair && (
          <Formula>
            <Sub of="s"><N>{tokenShort(pair.query, config)}</N><O>,</O><N>{tokenShort(pair.key, config)}</N></Sub>
            <O>=</O>
            <Sub of="q" bold><N>{tokenShort(pair.query, config)}</N></Sub>
            <O>·</O>
            <Sub of="k" bold><N>{tokenShort(pair.key, config)}</N></Sub>
            <O>=</O>
            <Sum over={<V>i</V>} />
            <Sub of="q"><V>i</V></Sub>
            <Sub of="k"><V>i</V></Sub>
            <O>=</O>
            <N>{isAsking ? "?" : decimal(pair.score)}</N>
          </Formula>
        )
      }
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
          <VectorBars kind="q" name={`q${tokenShort(pair.query, config)}`} values={pair.q} domain={domain} height={32} label={`Query of ${tokenName(pair.query, config)}`} />
          <VectorBars kind="k" name={`k${tokenShort(pair.key, config)}`} values={pair.k} domain={domain} height={32} label={`Key of ${tokenName(pair.key, config)}`} />
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
                label={`Scores of ${tokenName(pair.query, config)} with every key`}
                names={namesOf(store)}
                values={pair.scores}
                domain={roundDomain(largestSize(head.scores))}
                signed
                height={64}
                text={(value) => decimal(value, 1)}
                colour={(value) => css(signedColour(Math.sign(value) * 0.8, 1))}
                now={pair.key}
                {...keyHandlers(store)}
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
              <>
                <Frac
                  top={<><Sub of="q" bold><N>{tokenShort(pair.query, config)}</N></Sub><O>·</O><Sub of="k" bold><N>{tokenShort(pair.key, config)}</N></Sub></>}
                  bottom={<Root><V>d</V></Root>}
                />
                <O>=</O>
                <Frac top={<N>{decimal(pair.score)}</N>} bottom={<Root><N>{config.headDim}</N></Root>} />
              </>
            ) : (
              <><N>{decimal(pair.score)}</N>{!isOff && <><O>×</O><N>{decimal(trainedScale(config), 3)}</N></>}</>
            )}
            {temperature !== 1 && !isOff && <><O>÷</O><N>{decimal(temperature)}</N></>}
            <O>=</O>
            <N>{decimal(pair.scaled)}</N>
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
                label={`Scores before and after scaling, query ${tokenName(pair.query, config)}`}
                names={namesOf(store)}
                values={shown}
                ghost={pair.scores}
                domain={domain}
                signed
                height={190}
                text={(value) => decimal(value, 1)}
                colour={(value) => css(signedColour(Math.sign(value) * 0.8, 1))}
                now={pair.key}
                {...keyHandlers(store)}
              />
              <p class="small">Outlines: before scaling. One axis for both.</p>
            </section>
            <section>
              <h3>Weights after softmax</h3>
              <TokenBars
                label="Weights with and without scaling"
                names={namesOf(store)}
                values={now}
                ghost={raw}
                domain={1}
                height={190}
                text={(value) => (value >= 0.03 ? decimal(value * 100, 0) : "")}
                colour={() => "var(--accent)"}
                now={pair.key}
                {...keyHandlers(store)}
              />
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
                correct={answerWithout(store) ? 0 : 1}
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

/** Whether the trained model gives the same answer without scaling. */
function answerWithout(store: Store): boolean {
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
  const { query, layer, head: number, temperature, scale } = state.value;
  const player = usePlayer(2, [query, layer, number], 1100);
  const id = `softmax ${query} ${layer} ${number}`;
  const best = strongest(store, query);
  const isAsking = store.guesses.value[id] === undefined;
  const even = 1 / config.tokens;
  const largest = head ? largestSize(head.weights) : 1;
  const stage = [
    { title: "Scaled scores", values: pair?.scaledRow ?? [], signed: true },
    { title: "Exponentials: all positive, large scores stand out", values: pair?.powers ?? [], signed: false },
    { title: "Divided by their sum: shares of 100 %", values: pair?.weights ?? [], signed: false },
  ][isAsking ? 0 : player.at];
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
            <Sub of="w"><N>{tokenShort(pair.query, config)}</N><O>,</O><N>{tokenShort(pair.key, config)}</N></Sub>
            <O>=</O>
            <Frac
              top={<Power base={<V>e</V>}><Sub of="s"><N>{tokenShort(pair.query, config)}</N><O>,</O><N>{tokenShort(pair.key, config)}</N></Sub></Power>}
              bottom={<><Sum over={<V>j</V>} /><Power base={<V>e</V>}><Sub of="s"><N>{tokenShort(pair.query, config)}</N><O>,</O><V>j</V></Sub></Power></>}
            />
            {!isAsking && (
              <>
                <O>=</O>
                <Frac top={<Power base={<V>e</V>}><N>{decimal(pair.scaled)}</N></Power>} bottom={<N>{decimal(pair.sum)}</N>} />
                <O>=</O>
                <Frac top={<N>{decimal(Math.exp(pair.scaled))}</N>} bottom={<N>{decimal(pair.sum)}</N>} />
                <O>=</O>
                <N>{percent(pair.weight)}</N>
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
                    label={`${stage.title}, query ${tokenName(pair.query, config)}`}
                    names={namesOf(store)}
                    values={stage.values}
                    signed={stage.signed}
                    domain={!isAsking && player.at === 2 ? 1 : roundDomain(largestSize(stage.values))}
                    height={150}
                    text={(value) => (!isAsking && player.at === 2 ? (value >= 0.03 ? decimal(value * 100, 0) : "") : value > 99 ? decimal(value, 0) : decimal(value, 1))}
                    colour={(value) => (stage.signed ? css(signedColour(Math.sign(value) * 0.8, 1)) : "var(--accent)")}
                    now={pair.key}
                    mark={!isAsking && player.at === 2 ? { value: even, text: `uniform ${exactPercent(even)}` } : undefined}
                    {...keyHandlers(store)}
                  />
                  {!isAsking && <ShareLine weights={pair.weights} names={namesOf(store)} />}
                  {!isAsking && <Player player={player} label="From scores to shares" text={`${player.at + 1} of 3`} />}
                  {!isAsking && <Try>
                    <Slider
                      label="Temperature T"
                      min={TEMPERATURES.min}
                      max={TEMPERATURES.max}
                      step={0.05}
                      value={temperature}
                      text={decimal(temperature)}
                      change={(value) => store.set({ temperature: value })}
                    />
                    <span class="small">divides all scores, in every layer</span>
                    <Effect store={store} />
                  </Try>}
                </section>
                {!isAsking && <section class="all-rows">
                  <div class="row">
                    <h3>All rows</h3>
                    <Pin store={store} />
                    <TableButton data={() => weightTable(store)} />
                  </div>
                  <WeightMatrix store={store} />
                  {otherPinned(store) ? (
                    <>
                      <SignedScale domain={100} />
                      <p class="small">Now minus pinned ({otherPinned(store)?.name}), in points</p>
                    </>
                  ) : (
                    <>
                      <WeightScale mode={scale} even={even} largest={largest} />
                      <ScaleChoice modes={SCALE_MODES} mode={scale} choose={(value) => store.set({ scale: value })} />
                    </>
                  )}
                </section>}
          </div>
        </>
      )}
    </Frame>
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

/** All weights of the chosen head; the difference from a pinned result, if there is another one. */
export function WeightMatrix({ store }: { store: Store }) {
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

