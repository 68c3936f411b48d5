import assert from "node:assert/strict";
import { test } from "node:test";

import { largestDifference, linear } from "../src/engine/arithmetic";
import type { Config } from "../src/engine/config";
import { noisy, shuffledOrder } from "../src/engine/interventions";
import { blankPatches, cutPatches, reorderPatches } from "../src/engine/patches";
import { labelOf, logOdds, predictionOf } from "../src/engine/predict";
import { shapleyValues } from "../src/engine/influence";
import { product, weightArray } from "../src/engine/product";
import { encode, splitWords } from "../src/engine/text";
import { config, filled, plain } from "./support";

test("thresholds and temperature decide between confident, doubtful and rejected", () => {
  const logits = [4, 1, 0];
  const blank = new Float64Array(784);
  const at = (doubtfulBelow: number, rejectedBelow: number, thresholdTemperature = 1) =>
    predictionOf(logits, blank, { ...config(), doubtfulBelow, rejectedBelow, thresholdTemperature }).status;
  const certainty = Math.exp(4) / (Math.exp(4) + Math.exp(1) + 1);
  assert.equal(at(0, 0), "confident");
  assert.equal(at(certainty + 1e-9, 0), "doubtful");
  assert.equal(at(1, certainty + 1e-9), "rejected");
  const softened = Math.exp(0.5) / (Math.exp(0.5) + Math.exp(0.125) + 1);
  assert.equal(at(softened - 1e-9, 0, 8), "confident");
  assert.equal(at(softened + 1e-9, 0, 8), "doubtful");
  assert.equal(predictionOf(logits, blank, { ...config(), doubtfulBelow: 0, rejectedBelow: 0 }, ["wide"]).status, "doubtful");
});

test("a model without calibrated probabilities is never confident, however certain it is", () => {
  const settings = { ...config(), doubtfulBelow: 1, rejectedBelow: 0 };
  const { status, probabilities } = predictionOf([2000, 0, 0], new Float64Array(784), settings);
  assert.equal(probabilities[0], 1);
  assert.equal(status, "doubtful");
});

test("several digits have one label, with ? for a rejected one", () => {
  const one = (best: number, status: "confident" | "rejected") => ({ best, second: 0, status, probabilities: [], warnings: [] });
  assert.equal(labelOf([one(1, "confident"), one(7, "rejected"), one(3, "confident")], [..."0123456789"], true), "1?3");
});

test("log-odds do not saturate", () => {
  assert.ok(Math.abs(logOdds([1 - 1e-14, 1e-14], 0) - Math.log(1e14)) < 1e-3);
});

test("patches are cut channel by channel, and put back by reordering twice", () => {
  const small: Config = { ...config(), imageShape: [4, 6], patchShape: [2, 3], grid: [2, 2], patches: 4, inChannels: 2 };
  const pixels = Float64Array.from({ length: 48 }, (_, i) => i);
  assert.deepEqual([...cutPatches(pixels, small).slice(0, 12)], [0, 1, 2, 6, 7, 8, 24, 25, 26, 30, 31, 32]);
  const order = [2, 0, 3, 1];
  const moved = reorderPatches(pixels, small, order);
  assert.deepEqual([...cutPatches(moved, small).slice(0, 12)], [...cutPatches(pixels, small).slice(24, 36)]);
  const inverse = order.map((_, place) => order.indexOf(place));
  assert.deepEqual(reorderPatches(moved, small, inverse), pixels);
});

test("noise falls on the chosen patches alone and stays from 0 to 1", () => {
  const ink = new Float64Array(784).fill(0.5);
  const changed = noisy(ink, config(), [5], 0.8);
  const places = [...changed.keys()].filter((i) => changed[i] !== 0.5);
  assert.ok(places.length > 40);
  assert.ok(places.every((i) => Math.floor(i / 28 / 7) === 1 && Math.floor((i % 28) / 7) === 1));
  assert.ok(changed.every((value) => value >= 0 && value <= 1));
});

test("patches with hardly any ink are blank", () => {
  const ink = new Float64Array(784);
  ink.fill(1, 0, 5);
  assert.deepEqual(blankPatches(ink, config()).map(Number), [0, ...new Array(15).fill(1)]);
});

test("a seed gives one order of all patches, and 0 leaves them", () => {
  assert.deepEqual(shuffledOrder(4, 0), [0, 1, 2, 3]);
  assert.deepEqual(shuffledOrder(16, 5), shuffledOrder(16, 5));
  assert.deepEqual([...shuffledOrder(16, 5)].sort((a, b) => a - b), [...Array(16).keys()]);
});

test("Shapley values of an additive game are its terms, and of a product are equal", () => {
  const terms = [3, -1, 5];
  const sums = Float64Array.from({ length: 8 }, (_, set) => terms.reduce((sum, term, i) => sum + ((set >> i) & 1 ? term : 0), 0));
  assert.deepEqual([...shapleyValues(sums, [0, 2, 3], 4)].map((x) => Math.round(x * 1e9) / 1e9), [3, 0, -1, 5]);
  const all = Float64Array.from({ length: 8 }, (_, set) => (set === 7 ? 6 : 0));
  assert.deepEqual([...shapleyValues(all, [0, 1, 2], 3)].map((x) => Math.round(x * 1e9) / 1e9), [2, 2, 2]);
});

test("words are split from punctuation, and unknown ones are named once", () => {
  assert.deepEqual(splitWords("The dog's [MASK], ok?"), ["the", "dog's", "[mask]", ",", "ok", "?"]);
  const places = new Map([["[unknown]", 0], ["the", 1]]);
  assert.deepEqual(encode("The zebra zebra", places), { ids: [1, 0, 0], words: ["the", "zebra", "zebra"], unknown: ["zebra"] });
});

test("products of matrices of any size are sums of products, with weights in the memory and elsewhere", () => {
  const sizes = [1, 2, 3, 4, 5, 7, 17].flatMap((rows) => [1, 2, 3, 10, 33].flatMap((outputs) => [1, 2, 7, 16, 50, 300].map((inputs) => [rows, outputs, inputs])));
  const held = weightArray(33 * 300 + 1);
  for (const [i, [rows, outputs, inputs]] of sizes.entries()) {
    const [x, elsewhere, bias] = [filled(rows * inputs, i), filled(outputs * inputs, i + 0.5), filled(outputs, i + 0.7)];
    const inside = held.subarray(i % 2, (i % 2) + elsewhere.length);
    inside.set(elsewhere);
    for (const weight of [elsewhere, inside]) {
      assert.ok(largestDifference(linear(x, rows, { weight, bias }, outputs), plain(x, rows, weight, bias)) < 1e-11);
    }
    assert.deepEqual(inside, elsewhere);
  }
  const result = new Float64Array(8).fill(NaN);
  assert.ok(product(filled(8, 0), 4, held.subarray(0, 4), 2, result)); // in WebAssembly
  assert.ok(product(filled(8, 0), 4, filled(4, 1), 2, result));
  assert.ok(!result.some(Number.isNaN));
  assert.ok(!product(filled(1024 * 600, 0), 600, filled(1024 * 2, 1), 2, new Float64Array(1200))); // more than there is room for
});
