// Text: a sentence, which word attends to which, and the referent of "it".

import { useMemo } from "preact/hooks";

import { countWeights } from "../data/payload";
import { percent } from "../draw/numbers";
import { splitWords } from "../engine/text";
import { Choice } from "../parts/controls";
import { TextAttention } from "../parts/words";
import { ENDINGS, computeSentence, ending, headsOf, lastWord, pronounIn } from "../state/sentence";
import { MAX_LENGTH, MEAN, SCALE_MODES } from "../state/state";
import { store } from "../state/store";

export function TextPage() {
  const { textModel, payload, state } = store;
  const { sentence, textLayer, textHead, word, scale } = state.value;
  const { config } = textModel;
  const { status, words, unknown, run, predictions } = useMemo(() => computeSentence(textModel, sentence), [sentence]);
  const perLayer = config.numHeads + 1; // with their mean
  const set = (changed: string): void => store.set({ sentence: changed, word: pronounIn(splitWords(changed)) });
  return (
    <div class="text-page">
      <h2 tabIndex={-1}>Attention in a sentence</h2>
      <label class="labelled sentence-field">
        <span class="label">Sentence</span>
        <input type="text" value={sentence} maxLength={MAX_LENGTH} spellcheck={false} autocomplete="off" onInput={(event) => set(event.currentTarget.value)} />
      </label>
      <p class="small text-remark">
        {status === "empty" && "Write a sentence."}
        {status === "long" && `${words.length} words; this model accepts at most ${config.contextLength}. Shorten the sentence.`}
        {status === "computed" && unknown.length > 0 && `Not in the vocabulary: ${unknown.join(", ")}. They are replaced by [unknown].`}
      </p>
      {run && (
        <TextAttention
          words={words}
          queries={words.map((_, i) => i)}
          heads={headsOf(run, words.length)}
          headIndex={textLayer * perLayer + textHead - MEAN}
          queryIndex={Math.min(word, words.length - 1)}
          scale={scale}
          modes={SCALE_MODES}
          choose={({ headIndex, queryIndex = word, scale: mode = scale }) => {
            const head = headIndex === undefined ? {} : { textLayer: Math.floor(headIndex / perLayer), textHead: (headIndex % perLayer) + MEAN };
            store.set({ ...head, word: queryIndex, scale: mode });
          }}
          before={ending(sentence, "") && <Choice label="Last word" options={ENDINGS} value={lastWord(sentence)} choose={(value) => set(ending(sentence, value)!)} />}
        >
          {predictions.length
            ? `“Which one?” The model predicts: ${predictions.map(({ word: name, probability }) => `${name} ${percent(probability)}`).join(", ")}.`
            : "The model predicts the answer to “Which one?” only for sentences like “The dog chased the ball because it was hungry.” with words from its vocabulary."}
        </TextAttention>
      )}
      <p class="small">
        This is a tiny model: {countWeights(payload.text.tensors).toLocaleString("en-GB")} weights, {config.depth} layers, {config.vocabulary.length} words, trained on
        sentences from a small grammar. It has no knowledge of the world, and the words it attends to need not decide its prediction.
      </p>
    </div>
  );
}
