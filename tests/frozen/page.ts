// The page's own numbers, without a browser; bundled by esbuild, it reads a request and writes a result.
//
// The request has the page's payload and weights, digits as pixels, and sentences. The result has
// for each digit logits and the weights of one head, and for each sentence the logits at its last
// word.

import { readFileSync } from "node:fs";

import { readTensors } from "../../web/src/data/payload";
import { readConfig } from "../../web/src/engine/config";
import { TRAINED } from "../../web/src/engine/interventions";
import { normalize } from "../../web/src/engine/patches";
import { buildTextModel, encode, forwardText, wordLogits } from "../../web/src/engine/text";
import { buildModel, forward } from "../../web/src/engine/vit";

const { payload, weights, textWeights, digits, sentences } = JSON.parse(readFileSync(0, "utf-8"));
const { settings, tensors, text } = payload;
const config = readConfig(settings);
const model = buildModel(config, readTensors(weights, tensors));
const textModel = buildTextModel(text.settings, readTensors(textWeights, text.tensors));

const runs = digits.map((pixels: number[]) => {
  const values = Float64Array.from(pixels, (value) => value / 255);
  return forward(model, normalize(values, config), TRAINED);
});
const result = {
  logits: runs.map((run: ReturnType<typeof forward>) => run.logits),
  weights: runs.map(({ layers }: ReturnType<typeof forward>, i: number) => {
    const { heads } = layers[i % config.depth];
    return Array.from(heads[Math.floor(i / config.depth) % config.numHeads].weights);
  }),
  words: sentences.map((sentence: string) => {
    const { ids } = encode(sentence, textModel.placeOf);
    return Array.from(wordLogits(textModel, forwardText(textModel, ids), ids.length - 1));
  }),
};
process.stdout.write(JSON.stringify(result));
