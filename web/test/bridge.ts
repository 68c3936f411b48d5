// Runs functions of the pages for tests in Python, until standard input ends. Each of its lines is a request
// in JSON. All numbers of the answers go to a file of doubles, and a line to standard output: their counts, or
// an error.

import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { readTensors, type Payload } from "../src/data/payload";
import { erf, softmax } from "../src/engine/arithmetic";
import { readConfig } from "../src/engine/config";
import { lastLayer, measureHead, planShapley, rollout } from "../src/engine/influence";
import { TRAINED, type Switches } from "../src/engine/interventions";
import { blankPatches, normalize } from "../src/engine/patches";
import { certaintyOf } from "../src/engine/predict";
import { buildTextModel, encode, forwardText, wordLogits, type TextModel } from "../src/engine/text";
import { buildModel, forward, lens, type Model, type Run } from "../src/engine/vit";
import { digitAndParts, type Digit } from "../src/preprocess/digits";
import { factorOf, fitted, reduced, toGrey, type Pixels } from "../src/preprocess/image";
import { inputsOf, predictionFor } from "../src/preprocess/picture";
import { rasterise } from "../src/preprocess/raster";
import { digitsOf, type Stroke } from "../src/preprocess/strokes";

interface Request {
  page: string | null; // whose models are used
  calls: { name: string; argument: any }[];
  answer: string;
}

let model: Model | null = null;
let textModel: TextModel | null = null;
let opened: string | null = null;

function open(file: string): void {
  if (file === opened) return;
  const page = readFileSync(file, "utf8");
  const block = (id: string): string => new RegExp(`id="${id}">([^<]*)</script>`).exec(page)?.[1] ?? "";
  const payload: Payload = JSON.parse(block("payload"));
  model = buildModel(readConfig(payload.settings), readTensors(block("weights"), payload.tensors));
  textModel = buildTextModel(payload.text.settings, readTensors(block("text-weights"), payload.text.tensors));
  opened = file;
}

function everyStage(run: Run): ArrayLike<number>[] {
  return [
    ...run.layers.flatMap((layer) => [
      ...layer.heads.flatMap((head) => [
        head.query,
        head.key,
        head.value,
        head.scores,
        head.scaled,
        head.masked,
        head.weights,
        head.context,
      ]),
      layer.concatenated,
      layer.projected,
      layer.afterAttention,
      layer.mlpOutput,
      layer.output,
    ]),
    run.pooled,
    run.logits,
  ];
}

function passed(images: number[][], changes: Partial<Switches> = {}): Run[] {
  return images.map((pixels) => forward(model!, Float64Array.from(pixels), { ...TRAINED, ...changes }));
}

/** A picture whose bytes, of grey or with alpha, are in base64, averaged down as in the page. */
function pixelsOf({ width, height, data }: { width: number; height: number; data: string }): Pixels {
  const bytes = Buffer.from(data, "base64");
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  if (bytes.length === rgba.length) rgba.set(bytes);
  else bytes.forEach((grey, i) => rgba.fill(grey, 4 * i, 4 * i + 3));
  return reduced({ width, height, data: rgba }, factorOf(width, height, false, true));
}

/** All but the pixels. */
function outlineOf({ found, box, warnings, parts, segments }: Digit): number[] {
  const others = [...parts, ...segments.map(({ digit }) => digit)];
  const cuts = segments.flatMap(({ first, stop }) => [first, stop]);
  return [Number(found), ...box, warnings.length, ...warnings, parts.length, segments.length, ...cuts, ...others.flatMap(outlineOf)];
}

function inputsIn({ pixels, parts, segments }: Digit): number[] {
  return [...pixels, ...parts.flatMap(inputsIn), ...segments.flatMap(({ digit }) => inputsIn(digit))];
}

const functions: Record<string, (argument: any) => ArrayLike<number>[]> = {
  stages: ({ images, changes }) => passed(images, changes).flatMap(everyStage),
  certainty: ({ logits, inks, weights, temperature }) =>
    logits.map((row: number[], i: number) => {
      const settings = { ...model!.config, thresholdTemperature: temperature, certaintyWeights: weights };
      return [certaintyOf(row, Float64Array.from(inks[i]), settings)];
    }),
  lens: ({ images }) => passed(images).flatMap((run) => lens(model!, run)),
  maps: ({ images }) => passed(images).flatMap((run) => [lastLayer(run, model!.config), rollout(run, model!.config)]),
  measures: ({ images, inks }) =>
    passed(images).flatMap((run, i) =>
      run.layers.flatMap(({ heads }) =>
        heads.map(({ weights }) =>
          Object.values(measureHead(weights, model!.config, blankPatches(Float64Array.from(inks[i]), model!.config))),
        ),
      ),
    ),
  text: ({ text }) => {
    const { ids } = encode(text, textModel!.placeOf);
    const run = forwardText(textModel!, ids);
    return [...run.layers.flatMap(({ heads }) => heads.map(({ weights }) => weights)), wordLogits(textModel!, run, ids.length - 1)];
  },
  rasterise: ({ strokes, size, centred }) => [rasterise(strokes, size, centred)],
  digits: (strokes: Stroke[]) => [digitsOf(strokes).map((digit) => digit.length)],
  picture: (picture) => {
    const digit = digitAndParts(toGrey(pixelsOf(picture)));
    const outline = outlineOf(digit);
    return [[outline.length], outline, inputsIn(digit)];
  },
  grey: (picture) => [toGrey(pixelsOf(picture)).values],
  predicted: (picture) =>
    inputsOf(pixelsOf(picture), model!).map(({ pixels, box, warnings }) => {
      const ink = Float64Array.from(pixels, (value) => value / 255);
      const [run] = passed([Array.from(normalize(ink, model!.config))]);
      const { status, best } = predictionFor(run.logits, ink, model!.config, warnings);
      return [["confident", "doubtful", "rejected"].indexOf(status), best, ...box];
    }),
  fitted: ({ pixels, size, channels }) => [
    fitted(pixelsOf(pixels), size, channels),
  ],
  shapley: ({ ink, target }) => {
    const plan = planShapley(model!, Float64Array.from(ink), target);
    for (const piece of plan.pieces) piece();
    return [plan.values()];
  },
  softmax: (rows: (number | null)[][]) => rows.map((row) => softmax(row.map((value) => value ?? -Infinity))),
  erf: (values: number[]) => [values.map(erf)],
};

function answer({ page, calls, answer: file }: Request): number[] {
  if (page !== null) open(page);
  const answers = calls.map(({ name, argument }) => functions[name](argument));
  const counts = answers.map((parts) => parts.reduce((sum, part) => sum + part.length, 0));
  const all = new Float64Array(counts.reduce((sum, count) => sum + count, 0));
  let place = 0;
  for (const part of answers.flat()) {
    all.set(part, place);
    place += part.length;
  }
  writeFileSync(file, all);
  return counts;
}

for await (const line of createInterface({ input: process.stdin })) {
  let result: number[] | string;
  try {
    result = answer(JSON.parse(line));
  } catch (error) {
    result = (error as Error).stack ?? String(error);
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
