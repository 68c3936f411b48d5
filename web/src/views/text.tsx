// Text: a sentence, which word attends to which, and the referent of "it".

import { useMemo } from "preact/hooks";

import { countWeights } from "../data/payload";
import { percent } from "../draw/numbers";
import { row } from "../engine/arithmetic";
import { splitWords } from "../engine/text";
import { Choice, numbered } from "../parts/controls";
import { WordAttention } from "../parts/words";
import { ENDINGS, computeSentence, ending, lastWord, pronounIn, weightsOf, type SentenceResult } from "../state/sentence";
import { MAX_LENGTH, MEAN, SCALE_MODES } from "../state/state";
import { store } from "../state/store";

export function TextPage() {
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
  const { sentence, textLayer, textHead } = store.state.value;
  const { depth, numHeads, contextLength } = store.textModel.config;
  const set = (changed: string): void => store.set({ sentence: changed, word: pronounIn(splitWords(changed)) });
  return (
    <>
      <label class="labelled sentence-field">
        <span class="label">Sentence</span>
        <input type="text" value={sentence} maxLength={MAX_LENGTH} spellcheck={false} autocomplete="off" onInput={(event) => set(event.currentTarget.value)} />
      </label>
      <div class="row">
        {ending(sentence, "") && (
          <Choice label="Last word" options={ENDINGS} value={lastWord(sentence)} choose={(value) => set(ending(sentence, value)!)} />
        )}
        <Choice
          label="Layer"
          options={numbered("L", depth)}
          value={textLayer}
          choose={(value) => store.set({ textLayer: value })}
        />
        <Choice
          label="Head"
          options={[{ value: MEAN, text: "Mean", name: "Mean of all heads" }, ...numbered("H", numHeads)]}
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

function Words({ result: { words, run, predictions } }: { result: SentenceResult }) {
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
      {predictions.length
        ? `“Which one?” The model predicts: ${predictions.map(({ word: name, probability }) => `${name} ${percent(probability)}`).join(", ")}.`
        : "The question “Which one?” is for sentences like “The dog chased the ball because it was hungry.”, of words that the model knows."}
    </WordAttention>
  );
}
