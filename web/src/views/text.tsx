// Text: a sentence, which word attends to which, and the referent of "it".

import { useMemo, useState } from "preact/hooks";

import { countWeights } from "../data/payload";
import { largestSize, weightColour } from "../draw/colours";
import { decimal, multiple, percent } from "../draw/numbers";
import { argmax, row } from "../engine/arithmetic";
import { splitWords } from "../engine/text";
import { Choice, TableButton } from "../parts/controls";
import { Matrix } from "../parts/matrix";
import { pairLabel } from "../parts/readout";
import { WeightScale } from "../parts/scale";
import { WordStrip } from "../parts/words";
import { ENDINGS, computeSentence, ending, lastWord, pronounIn, swapped, weightsOf, type SentenceResult } from "../state/sentence";
import { MAX_LENGTH, MEAN } from "../state/state";
import type { Store } from "../state/store";

const REASONS = {
  kind: "The question “Which one?” needs a sentence like “The dog chased the ball because it was hungry.”",
  unknown: "The question “Which one?” needs known words; one of these is not in the vocabulary.",
  causal: "The question “Which one?” needs a model that attends to later words, too.",
  long: "With the question “Which one?”, the sentence is too long for this model.",
};

export function TextPage({ store }: { store: Store }) {
  const { textModel, payload, state } = store;
  const { sentence } = state.value;
  const result = useMemo(() => computeSentence(textModel, sentence), [sentence]);
  const { config } = textModel;
  const weights = countWeights(payload.text.tensors);
  return (
    <div class="text-page">
      <h2 tabIndex={-1}>Attention in a sentence</h2>
      <SentenceField store={store} result={result} />
      {result.run && <Words store={store} result={result} />}
      <p class="small">
        This is a tiny model: {weights.toLocaleString("en-GB")} weights, {config.depth} layers, {config.vocabulary.length} words, trained on
        sentences from a small grammar. It has no knowledge of the world, and the words it attends to need not decide its prediction.
      </p>
    </div>
  );
}

function SentenceField({ store, result }: { store: Store; result: SentenceResult }) {
  const { sentence, textLayer, textHead } = store.state.value;
  const { depth, numHeads, contextLength } = store.textModel.config;
  const set = (changed: string | null): void => {
    if (changed !== null) store.set({ sentence: changed, word: pronounIn(splitWords(changed)) });
  };
  const isOther = swapped(sentence) === null;
  return (
    <>
      <div class="row">
        <label class="labelled sentence-field">
          <span class="label">Sentence</span>
          <input type="text" value={sentence} maxLength={MAX_LENGTH} spellcheck={false} autocomplete="off" onInput={(event) => set(event.currentTarget.value)} />
        </label>
        <button type="button" disabled={isOther} onClick={() => set(swapped(sentence))}>Swap the two nouns</button>
      </div>
      <div class="row">
        {!isOther && (
          <Choice label="Last word" options={ENDINGS} value={lastWord(sentence)} choose={(value) => set(ending(sentence, value))} />
        )}
        <Choice
          label="Layer"
          options={Array.from({ length: depth }, (_, value) => ({ value, text: `L${value + 1}` }))}
          value={textLayer}
          choose={(value) => store.set({ textLayer: value })}
        />
        <Choice
          label="Head"
          options={[{ value: MEAN, text: "Mean", name: "Mean of all heads" }, ...Array.from({ length: numHeads }, (_, value) => ({ value, text: `H${value + 1}` }))]}
          value={textHead}
          choose={(value) => store.set({ textHead: value })}
        />
      </div>
      <p class="small text-remark">
        {result.status === "empty" && "Write a sentence."}
        {result.status === "long" && `${result.words.length} words; this model accepts at most ${contextLength}. Shorten the sentence.`}
        {result.status === "computed" && result.unknown.length > 0 && `Not in the vocabulary: ${result.unknown.join(", ")}. They are replaced by [unknown].`}
      </p>
    </>
  );
}

function Words({ store, result }: { store: Store; result: SentenceResult }) {
  const { textLayer, textHead, word, scale } = store.state.value;
  const { words, run, question, predictions } = result;
  const count = words.length;
  const query = Math.min(word, count - 1);
  const weights = weightsOf(run!, textLayer, textHead);
  const shares = row(weights, query, count);
  const best = argmax(shares);
  const [key, setKey] = useState<number | null>(null);
  const shown = Math.min(key ?? best, count - 1);
  const caption = `Attention of each word, L${textLayer + 1}${textHead === MEAN ? ", mean of all heads" : ` H${textHead + 1}`}`;
  const nameAt = (from: number, to: number): string => pairLabel(words[from], words[to], weights[from * count + to], 1 / count);
  return (
    <>
      <WordStrip
        words={words}
        weights={shares}
        query={query}
        choose={(next) => {
          setKey(null);
          store.set({ word: next });
        }}
      />
      <p class="revealed">
        “{words[query]}” attends most to “{words[best]}”: <b>{percent(shares[best])}</b>, {multiple(shares[best] * count)} the uniform weight.{" "}
        {question === "applies" ? (
          <>
            “Which one?” The model predicts: {predictions.map(({ word: name, probability }) => `${name} ${percent(probability)}`).join(", ")}.
          </>
        ) : (
          REASONS[question]
        )}
      </p>
      <div class="row text-maps">
        <Matrix
          class="of-words"
          label={caption}
          rows={words}
          columns={words}
          colourAt={(from, to) => weightColour(weights[from * count + to], scale, 1 / count, largestSize(weights))}
          textAt={(from, to) => (weights[from * count + to] * count >= 1.6 ? decimal(weights[from * count + to] * 100, 0) : "")}
          nameAt={nameAt}
          chosen={[query, shown]}
          choose={(from, to) => {
            setKey(to);
            store.set({ word: from });
          }}
        />
        <div class="aside">
          <p class="readout">{nameAt(query, shown)}</p>
          <WeightScale mode={scale} even={1 / count} largest={largestSize(weights)} />
          <TableButton
            data={() => ({
              caption: `Words that “${words[query]}” attends to`,
              columns: ["word", "weight", "× uniform"],
              rows: words.map((name, i) => [name, percent(shares[i]), multiple(shares[i] * count)]),
            })}
          />
        </div>
      </div>
    </>
  );
}
