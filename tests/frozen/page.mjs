// The page's own numbers, without a browser: node page.mjs FOLDER < request > result
//
// The request has the page's payload and weights, digits as pixels, and sentences. The result has
// for each digit logits and the weights of one head, and for each sentence the logits at its last
// word.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const load = (name) => import(new URL(`${name}.js`, folder));

const { readConfig } = await load("config");
const { trainedSwitches } = await load("experiments");
const { buildModel, forward } = await load("model");
const { normalize } = await load("pixels");
const { buildTextModel, forwardText, readTextConfig, wordLogits } = await load("text");
const { readTensors } = await load("weights");
const { encode } = await load("words");

const { payload, weights, textWeights, digits, sentences } = JSON.parse(readFileSync(0, "utf-8"));
const { settings, tensors, text } = payload;
const config = readConfig(settings, readTextConfig(text.settings));
const model = buildModel(config, readTensors(weights, tensors));
const textModel = buildTextModel(config.text, readTensors(textWeights, text.tensors));

const runs = digits.map((pixels) => {
  const values = Float64Array.from(pixels, (value) => value / 255);
  return forward(model, normalize(values, config), trainedSwitches(config));
});
const result = {
  logits: runs.map((run) => run.logits),
  weights: runs.map(({ layers }, i) => {
    const { heads } = layers[i % config.depth];
    return Array.from(heads[Math.floor(i / config.depth) % config.numHeads].weights);
  }),
  words: sentences.map((sentence) => {
    const { ids } = encode(sentence, textModel.placeOf);
    return Array.from(wordLogits(textModel, forwardText(textModel, ids), ids.length - 1));
  }),
};
process.stdout.write(JSON.stringify(result));
