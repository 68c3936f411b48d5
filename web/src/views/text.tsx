// Text: a sentence, which word attends to which, and the referent of "it".

import { useMemo } from "preact/hooks";

import { countWeights } from "../data/payload";
import { percent } from "../draw/numbers";
import { row } from "../engine/arithmetic";
import { splitWords } from "../engine/text";
import { Choice } from "../parts/controls";
import { WordAttention } from "../parts/words";
import { ENDINGS, computeSentence, ending, lastWord, pronounIn, swapped, weightsOf, type SentenceResult } from "../state/sentence";
import { MAX_LENGTH, MEAN, SCALE_MODES } from "../state/state";
import { useStore } from "../state/store";

const REASONS = {
  kind: "The question “Which one?” needs a sentence like “The dog chased the ball because it was hungry.”",
  unknown: "The question “Which one?” needs known words; one of these is not in the vocabulary.",
  causal: "The question “Which one?” needs a model that attends to later words, too.",
  long: "With the question “Which one?”, the sentence is too long for this model.",
};

export function TextPage() {
  const store = useStore();
  const { textModel, payload, state } = store;
  const { sentence } = state.value;
  const result = useMemo(() => computeSentence(textModel, sentence), [sentence]);
  const { config } = textModel;
  const weights = countWeights(payload.text.tensors);
  return (
    <div class="text-page">
      <h2 tabIndex={-1}>Attention in a sentence</h2>
      <SentenceField result={result} />
      {result.run && <Words result={result} />}
      <p class="small">
        This is a tiny model: {weights.toLocaleString("en-GB")} weights, {config.depth} layers, {config.vocabulary.length} words, trained on
        sentences from a small grammar. It has no knowledge of the world, and the words it attends to need not decide its prediction.
      </p>
    </div>
  );
}

function SentenceField({ result }: { result: SentenceResult }) {
  const store = useStore();
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

function Words({ result: { words, run, question, predictions } }: { result: SentenceResult }) {
  const store = useStore();
  const { textLayer, textHead, word, scale } = store.state.value;
  const weights = weightsOf(run!, textLayer, textHead);
  const head = `L${textLayer + 1}${textHead === MEAN ? ", mean of heads" : ` H${textHead + 1}`}`;
  const pick = (to: number): void => store.set({ word: to });
  return (
    <WordAttention
      label={`Attention of each word, ${head}`}
      words={words}
      rows={words.map((name, query) => ({ name, head, query, weights: row(weights, query, words.length) }))}
      row={Math.min(word, words.length - 1)}
      pickQuery={pick}
      pickRow={pick}
      scale={scale}
      modes={SCALE_MODES}
      setScale={(mode) => store.set({ scale: mode })}
    >
      {question === "applies"
        ? `“Which one?” The model predicts: ${predictions.map(({ word: name, probability }) => `${name} ${percent(probability)}`).join(", ")}.`
        : REASONS[question]}
    </WordAttention>
  );
}
