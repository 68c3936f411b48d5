// One head of attention: query, key and value, scores, scaling, softmax.

import { css, largestSize, roundDomain, shareColour, signedColour, weightColour } from "../draw/colours";
import { headName, tokenName, tokenShort } from "../draw/geometry";
import { decimal, exactPercent, multiple, percent, points } from "../draw/numbers";
import { argmax, norm, row, softmax } from "../engine/arithmetic";
import { trainedScale } from "../engine/config";
import { unscaledTemperature } from "../engine/interventions";
import { TokenBars, VectorBars, VectorStrip } from "../parts/bars";
import { Choice, Player, Slider, TableButton, Toggle, usePlayer } from "../parts/controls";
import { Formula, Frac } from "../parts/formula";
import { Matrix } from "../parts/matrix";
import { pairLabel, ScaleChoice, SignedScale, WeightScale } from "../parts/scale";
import { Term } from "../parts/term";
import type { Result } from "../state/result";
import { isUnscaled, SCALE_MODES, TEMPERATURES, trainedState } from "../state/state";
import { chosenHead, current, shownPair, store } from "../state/store";
import { Effect, Frame, isOpen, sentence, strongest, Try } from "./frame";

/** What is shown of a head: a pair of tokens, and the row of the pair's query. */
function currentHead() {
  const now = current();
  const { config, stages, layer, head } = now;
  const { tokens, headDim } = config;
  const pairOf = (query: number, key: number) => {
    const [at, scaledRow] = [query * tokens + key, row(stages.scaled, query, tokens)];
    const powers = Array.from(row(stages.masked, query, tokens), Math.exp);
    return {
      query,
      key,
      queryName: tokenName(query, config),
      keyName: tokenName(key, config),
      q: row(stages.query, query, headDim),
      k: row(stages.key, key, headDim),
      scores: row(stages.scores, query, tokens),
      scaledRow,
      weights: row(stages.weights, query, tokens),
      powers,
      sum: powers.reduce((sum, value) => sum + value, 0),
      score: stages.scores[at],
      scaled: stages.scaled[at],
      weight: stages.weights[at],
      short: [tokenShort(query, config), tokenShort(key, config)],
    };
  };
  const { query, key } = shownPair();
  return { ...now, pairOf, pair: pairOf(query, key), name: headName(layer, head), names: namesOf() };
}

function namesOf(): string[] {
  const { config } = store;
  return Array.from({ length: config.tokens }, (_, token) => tokenShort(token, config));
}

/** Bars of the query's row: one for each key token, which can be pointed at or chosen. */
function keysOf(now: number) {
  const { query } = store.state.value;
  return {
    names: namesOf(),
    now,
    pick: (key: number) => store.set({ key }),
    hover: (key: number | null) => {
      store.hover.value = key === null ? {} : { query, key };
    },
  };
}

export function QkvStep() {
  const { config, stages, query, layer, head, name, layerRun } = currentHead();
  const { headDim, embedDim } = config;
  const vectors = [stages.query, stages.key, stages.value].map((all) => row(all, query, headDim));
  const input = row(layerRun.normed, query, embedDim);
  const token = tokenName(query, config);
  return (
    <Frame
      title="Each token makes a query, a key and a value"
      text={
        <>
          The tokens now pass through {config.depth} <Term name="layer">layers</Term> of {config.numHeads} <Term name="head">heads</Term> each. Steps 5 to 9 show one: {name}, head {head + 1} of
          layer {layer + 1}. As in a search, it makes three vectors of each token: the <b class="q">query</b> is the search term, the <b class="k">key</b> the title it is compared
          with, and the <b class="v">value</b> the content that is returned.
        </>
      }
      formula={
        <>
          <Formula>{"*q = *W_Q LN ( *x ) + *b_Q ,"}</Formula>
          <Formula>{"*k = *W_K LN ( *x ) + *b_K ,"}</Formula>
          <Formula>{"*v = *W_V LN ( *x ) + *b_V"}</Formula>
        </>
      }
      readout={<><b>{name}:</b> {token} is shown. Choose another one.</>}
      note={
        <>
          In the formula: the matrices <Term name="W">W</Term> of {headDim} × {embedDim} and the vectors <Term name="bias">b</Term> are learnt, different in each head; <Term name="LN" /> normalises.
          Lengths: {vectors.map((vector, i) => `‖${"qkv"[i]}‖ = ${decimal(norm(vector))}`).join(", ")}
        </>
      }
      table={{
        caption: `Query, key and value of ${token}, ${name}`,
        columns: ["i", "q", "k", "v"],
        rows: () => Array.from({ length: headDim }, (_, i) => [i + 1, ...vectors.map((vector) => decimal(vector[i]))]),
      }}
      question={{
        id: "received",
        text: "A patch attends to another one. Which vector of the other patch does it receive?",
        options: ["query", "key", "value"],
        correct: 2,
        explain: "Its value. The query of the first patch and the key of the other one only decide how much of it.",
      }}
      trial={
        <>
          <Choice
            label="Another head"
            options={Array.from({ length: config.numHeads }, (_, value) => ({ value, text: `H${value + 1}`, name: headName(layer, value) }))}
            value={head}
            choose={(value) => store.pickHead(layer, value)}
          />
          <span class="small">It has its own matrices: other queries, other keys, other values.</span>
        </>
      }
    >
      <div class="strips">
        <VectorStrip name={`LN(x), ${embedDim} numbers`} values={input} domain={largestSize(input) || 1} />
      </div>
      {(["q", "k", "v"] as const).map((kind, i) => (
        <VectorBars key={kind} kind={kind} name={kind} values={vectors[i]} domain={largestSize(...vectors) || 1} height={38} label={`${["Query", "Key", "Value"][i]} of ${token}`} />
      ))}
    </Frame>
  );
}

export function ScoresStep() {
  const { config, stages, query, key, name, pairOf, ...now } = currentHead();
  const id = `score ${query} ${name}`;
  const guess = store.guesses.value[id] ?? -1;
  const isAsking = isOpen(id);
  const isHidden = isAsking && store.hover.value.key === undefined; // the chosen key is the right guess
  const pair = isHidden ? pairOf(now.pair.query, now.pair.query) : now.pair;
  const player = usePlayer(config.headDim, [query, key, name], 250);
  const scores = row(stages.scores, query, config.tokens);
  const best = argmax(scores);
  const [q, k] = pair.short;
  const products = pair.q.map((value, i) => value * pair.k[i]);
  const domain = largestSize(pair.q, pair.k) || 1;
  return (
    <Frame
      title="A score measures how well a query matches a key"
      text="Multiply query and key component by component, and add up the products: the dot product. The larger the sum, the better the key matches the query."
      formula={<Formula>{`s_${q},${k} = *q_${q} · *k_${k} = ∑_i q_i k_i = ${isAsking ? "?" : decimal(pair.score)}`}</Formula>}
      question={{
        id,
        text: `Which key matches the query of ${tokenName(query, config)} best in ${name}? Point at patches to compare their keys with it.`,
        correct: best,
        explain: `The best match is ${tokenName(best, config)}, with a score of ${decimal(scores[best])}.${guess >= 0 && guess !== best ? ` That of ${tokenName(guess, config)} is ${decimal(scores[guess])}.` : ""}`,
        hides: true,
      }}
    >
      <VectorBars kind="q" name={`q${q}`} values={pair.q} domain={domain} height={32} label={`Query of ${pair.queryName}`} />
      <VectorBars kind="k" name={`k${k}`} values={pair.k} domain={domain} height={32} label={`Key of ${pair.keyName}`} />
      {!isAsking && (
        <>
          <VectorBars kind="product" name="q·k" values={products} domain={largestSize(products) || 1} upTo={player.at} height={32} label="Products" />
          <VectorBars kind="waterfall" name="Σ" values={products} upTo={player.at} height={54} label={`Sum of the products: ${decimal(pair.score)}`} />
          <div class="row">
            <Player player={player} label="Add up the products" text={`${player.at} of ${config.headDim}`} />
            <TableButton
              caption={`Query of ${pair.queryName} and key of ${pair.keyName}, ${name}`}
              columns={["i", "q", "k", "q · k"]}
              rows={() => [
                ...Array.from(products, (product, i) => [i + 1, decimal(pair.q[i]), decimal(pair.k[i]), decimal(product)]),
                ["sum", "", "", decimal(pair.score)],
              ]}
            />
          </div>
          <div class="vector-bars">
            <span class="name" aria-hidden="true">{`s${q}`}</span>
            <TokenBars
              {...keysOf(pair.key)}
              label={`Scores of ${pair.queryName} with every key`}
              values={pair.scores}
              domain={roundDomain(largestSize(pair.scores))}
              signed
              height={70}
            />
          </div>
        </>
      )}
    </Frame>
  );
}

const SHRINKING = 10; // steps of the presentation

export function ScaleStep() {
  const { config, layer, pair, query, temperature, name, names } = currentHead();
  const player = usePlayer(SHRINKING, [query, name, temperature], 90);
  const isOff = isUnscaled(store.state.value, config);
  const [q, k] = pair.short;
  const factor = trainedScale(config) / temperature;
  const shrunk = 1 + (player.at / SHRINKING) * (factor - 1);
  const shown = pair.scores.map((score) => score * shrunk);
  const [raw, now] = [softmax(pair.scores), softmax(shown)];
  const root = config.attentionScale === "sqrt";
  const unscaled = store.resultOf({ ...store.state.value, ...trainedState(), temperature: unscaledTemperature(config) });
  return (
    <Frame
      title={root ? "Dividing by √d keeps the weight from going to one key alone" : "Scores are scaled before softmax"}
      text={
        root
          ? <>Longer vectors give larger scores. Dividing by √d, with d = {config.headDim} components, keeps them moderate at any length: rows do not become <Term name="one-hot" />, and the model can be trained.</>
          : `This model multiplies its scores by ${decimal(trainedScale(config), 3)} before softmax.`
      }
      formula={
        <Formula>
          {isOff ? (
            `*q_${q} · *k_${k}`
          ) : root ? (
            <><Frac top={`*q_${q} · *k_${k}`} bottom="√d" /><mo>=</mo><Frac top={decimal(pair.score)} bottom={`√${config.headDim}`} /></>
          ) : (
            <mn>{decimal(pair.score)}</mn>
          )}
          {!root && !isOff && ` × ${decimal(trainedScale(config), 3)}`}
          {temperature !== 1 && !isOff && ` ÷ ${decimal(temperature)}`}
          {` = ${decimal(pair.scaled)}`}
          {isOff && <mtext>, not divided{layer > 0 && "; the layers before have changed too"}</mtext>}
        </Formula>
      }
      player={{ player, label: "Shrink the scores", text: `× ${decimal(shrunk)}` }}
      table={{
        caption: `Scores and scaled scores of ${pair.queryName}, ${name}`,
        columns: ["key", "score", "scaled", "weight", "weight without scaling"],
        rows: () => names.map((key, i) => [key, decimal(pair.scores[i]), decimal(pair.scaledRow[i]), percent(pair.weights[i]), percent(raw[i])]),
      }}
      question={
        root && {
          id: "unscaled",
          text: "What if the trained model runs without the division, in every layer?",
          options: ["the prediction stays", "the prediction changes"],
          correct: store.trained.value.prediction?.best === unscaled.prediction?.best ? 0 : 1,
          explain: `On average over all rows of all heads, the largest weight is ${percent(meanLargest(store.trained.value))} with the division, ${percent(meanLargest(unscaled))} without it. The model was trained with the division, and not for such rows.`,
        }
      }
      trial={
        root && (
          <>
            <Toggle on={!isOff} toggle={() => store.set({ temperature: isOff ? 1 : unscaledTemperature(config) })}>
              Divide by √{config.headDim}, in all {config.depth} layers
            </Toggle>
            <Effect />
          </>
        )
      }
    >
      <div class="pair">
        <section>
          <h3>Scores of {pair.queryName}</h3>
          <TokenBars
            {...keysOf(pair.key)}
            label={`Scores before and after scaling, query ${pair.queryName}`}
            values={shown}
            ghost={pair.scores}
            domain={roundDomain(largestSize(pair.scores))}
            signed
            height={190}
          />
          <p class="small">Outlines: before scaling. One axis for both.</p>
        </section>
        <section>
          <h3>Weights after softmax</h3>
          <TokenBars {...keysOf(pair.key)} label="Weights with and without scaling" values={now} ghost={raw} domain={1} height={190} />
          <p class="small">
            Largest weight: {percent(Math.max(...now))}; without scaling {percent(Math.max(...raw))}.
          </p>
        </section>
      </div>
    </Frame>
  );
}

/** The largest weight of a row, on average over all rows of all heads. */
function meanLargest({ run }: Result): number {
  const heads = run?.layers.flatMap((layer) => layer.heads.map(({ weights }) => weights)) ?? [];
  const { tokens } = store.config;
  const rows = heads.flatMap((weights) => Array.from({ length: tokens }, (_, query) => Math.max(...row(weights, query, tokens))));
  return rows.reduce((sum, largest) => sum + largest, 0) / rows.length;
}

const BRACKETS = [
  { text: "under 25 %", below: 0.25 },
  { text: "25 to 50 %", below: 0.5 },
  { text: "50 to 75 %", below: 0.75 },
  { text: "over 75 %", below: Infinity },
];

export function SoftmaxStep() {
  const { config, stages, pair, query, temperature, name, names } = currentHead();
  const id = `softmax ${query} ${name}`;
  const best = strongest(query);
  const isAsking = isOpen(id);
  const player = usePlayer(2, [query, name], 1100);
  const [q, k] = pair.short;
  const even = 1 / config.tokens;
  const parts = [
    { title: "Scaled scores", values: pair.scaledRow },
    { title: "Exponentials: all positive, large scores stand out", values: pair.powers },
    { title: "Divided by their sum: shares of 100 %", values: pair.weights },
  ];
  const at = isAsking ? 0 : player.at;
  const { title, values } = parts[at];
  const [first, second = 0] = Array.from(row(stages.scaled, query, config.tokens)).sort((a, b) => b - a);
  const top = stages.weights[query * config.tokens + best];
  return (
    <Frame
      title="Softmax turns scores into shares of 100 %"
      text={<>Each scaled score becomes a <Term name="power of e" />, and is divided by the sum of its row. These shares are the attention weights: the factor of each value in the sum.</>}
      formula={
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
      }
      question={{
        id,
        text: `The largest scaled score of ${tokenName(query, config)} in ${name} is ${decimal(first)}, the next ${decimal(second)}. What share of 100 % does the largest get?`,
        options: BRACKETS.map(({ text }) => text),
        correct: BRACKETS.findIndex(({ below }) => top < below),
        explain: `${sentence(tokenName(best, config))} gets ${percent(top)}, ${multiple(top / even)} the uniform weight. Each difference of ${decimal(Math.LN2)} in the scores doubles the share.`,
        hides: true,
      }}
    >
      <div class="pair softmax">
        <section>
          <h3>{title}</h3>
          <TokenBars
            {...keysOf(pair.key)}
            label={`${title}, query ${pair.queryName}`}
            values={values}
            signed={at === 0}
            domain={at === 2 ? 1 : roundDomain(largestSize(values))}
            height={150}
            text={at === 1 ? (value) => decimal(value, value > 99 ? 0 : 1) : undefined}
            mark={at === 2 ? { value: even, text: `uniform ${exactPercent(even)}` } : undefined}
          />
          {!isAsking && (
            <>
              <ShareLine weights={pair.weights} names={names} />
              <Player player={player} label="From scores to shares" text={`${player.at + 1} of 3`} />
              <Try>
                <Slider label="Temperature T" {...TEMPERATURES} step={0.05} value={temperature} text={decimal(temperature)} change={(value) => store.set({ temperature: value })} />
                <span class="small">divides all scores, in every layer</span>
                <Effect />
              </Try>
            </>
          )}
        </section>
        {!isAsking && <AllRows />}
      </div>
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

/** The whole matrix, with its scale; the difference from a pinned result, if there is another one. */
function AllRows() {
  const { config, stages, run, prediction, blank, query, key, scale, layer, head, pair, name, names } = currentHead();
  const { pinned, changes, hover } = store;
  const { tokens } = config;
  const even = 1 / tokens;
  const other = pinned.value && pinned.value.run !== run ? pinned.value : null;
  const before = other?.run.layers[layer].heads[head].weights;
  const largest = largestSize(stages.weights);
  const at = (q: number, k: number): number => stages.weights[q * tokens + k];
  const change = (q: number, k: number): number => at(q, k) - (before?.[q * tokens + k] ?? 0);
  const written = (q: number, k: number): string => {
    const isLarge = before ? Math.abs(change(q, k)) >= 0.1 : at(q, k) >= 1.6 * even;
    return isLarge && tokens <= 20 ? decimal(change(q, k) * 100, 0) : "";
  };
  const pin = (): void => {
    const label = [config.classNames[prediction.best], ...changes.value].join(", ");
    pinned.value = pinned.value ? null : { name: label, run };
  };
  return (
    <section class="all-rows">
      <div class="row">
        <h3>All rows</h3>
        <button type="button" class="quiet" aria-pressed={pinned.value !== null} onClick={pin}>
          {pinned.value ? "Unpin" : "Pin to compare"}
        </button>
        <TableButton {...weightTable()} />
      </div>
      <Matrix
        class={before ? "signed" : ""}
        label={`${before ? "Difference of attention weights" : "Attention weights"}, ${name}`}
        rows={names}
        columns={names}
        colourAt={(q, k) => (before ? signedColour(change(q, k), 1) : weightColour(at(q, k), scale, even, largest))}
        textAt={written}
        nameAt={(q, k) =>
          before
            ? `${tokenName(q, config)} attends to ${tokenName(k, config)}: ${written(q, k) || points(change(q, k))} points`
            : pairLabel(tokenName(q, config), tokenName(k, config), at(q, k), even)
        }
        chosen={[query, key]}
        shown={[pair.query, pair.key]}
        blank={Array.from({ length: tokens }, (_, token) => Boolean(blank[token - config.numPrefixTokens]))}
        choose={(q, k) => store.set({ query: q, key: k })}
        hover={(place) => {
          hover.value = place ? { query: place[0], key: place[1] } : {};
        }}
      />
      {other ? (
        <>
          <SignedScale domain={100} />
          <p class="small">Now minus pinned ({other.name}), in points</p>
        </>
      ) : (
        <>
          <WeightScale mode={scale} even={even} largest={largest} />
          <ScaleChoice modes={SCALE_MODES} mode={scale} choose={(value) => store.set({ scale: value })} />
        </>
      )}
    </section>
  );
}

export function weightTable() {
  const { config, state } = store;
  const head = chosenHead();
  const names = namesOf();
  return {
    caption: `Attention weights, ${headName(state.value.layer, state.value.head)}: rows are queries, columns are keys`,
    columns: ["query", ...names],
    rows: () => names.map((name, i) => [name, ...Array.from(head ? row(head.weights, i, config.tokens) : [], percent)]),
  };
}
