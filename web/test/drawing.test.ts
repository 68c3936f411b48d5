
import { test } from "node:test";

import { css, isLight, roundDomain, shareColour, signedColour, weightColour } from "../src/draw/colours";
import { arcs, headName, tokenName } from "../src/draw/geometry";
import { decimal, percent, points, scientific } from "../src/draw/numbers";
import { extended, strokesFromText, strokesToText } from "../src/preprocess/strokes";
import { computeSentence, ending } from "../src/state/sentence";
import { firstState, partsOf, stateFromHash, stateToHash } from "../src/state/state";
import { config } from "./support";

import assert from "node:assert/strict";

const plain = (text: string) => text.replaceAll("\u202f", "");

test("percentages have two significant digits", () => {
  const shares = [1, 0.907, 0.0995, 0.0623, 0.0062, 0.00072, 0.00004, 0];
  assert.deepEqual(shares.map((share) => plain(percent(share))), ["100%", "91%", "10%", "6.2%", "0.62%", "0.07%", "<0.01%", "0%"]);
});

test("a share is 100 % only if it is 1", () => {
  assert.deepEqual([1, 0.99999, 0.9995, 0.995, 0.91].map((share) => plain(percent(share))), ["100%", "99.99%", "99.95%", "99.5%", "91%"]);
});

test("signs are typographic and zero has none", () => {
  assert.deepEqual([decimal(-1.234), decimal(-0.001), decimal(-Infinity)], ["−1.23", "0.00", "−∞"]);
  assert.deepEqual([points(0.012), points(-0.34), points(0.00001)], ["+1.2", "−34.0", "0.00"]);
  assert.equal(scientific(4.04e-11), "4.0 × 10⁻¹¹");
});

test("the fixed scale is a square root, and a stretched one ends at the largest weight", () => {
  assert.equal(css(shareColour(0)), "rgb(0, 34, 78)");
  assert.equal(css(shareColour(1)), "rgb(254, 232, 56)");
  assert.deepEqual(weightColour(0.2, "stretched", 0.1, 0.2), shareColour(1));
  assert.deepEqual(weightColour(0.1, "even", 0.1, 1), signedColour(0, 1));
  assert.deepEqual([roundDomain(3.5), roundDomain(20), roundDomain(0)], [5, 20, 1]);
  assert.ok(isLight(shareColour(1)) && !isLight(shareColour(0)));
});

test("a fall is orange and a rise is blue", () => {
  const [fall, rise] = [signedColour(-1, 1), signedColour(1, 1)];
  assert.ok(fall[0] > fall[2] && rise[2] > rise[0]);
});

test("arcs lead from the query to patches with enough weight, as wide as the weight", () => {
  const weights = new Array(16).fill(0.01);
  weights[3] = 0.6;
  weights[10] = 0.25;
  const drawn = arcs(10, weights, config(), 1 / 32);
  assert.deepEqual(drawn.map(({ token }) => token), [10, 3]);
  assert.equal(drawn[0].path, "");
  assert.ok(drawn[1].path.startsWith("M2.5 2.5") && drawn[1].path.endsWith("3.5 0.5"));
  assert.ok(Math.abs(drawn[1].width / 0.6 - 0.26) < 1e-12);
});

test("names count from 1", () => {
  assert.equal(headName(2, 1), "L3 H2");
  assert.equal(tokenName(10, config()), "patch 11");
  assert.equal(tokenName(0, { numPrefixTokens: 1 }), "class token");
});

test("strokes and pictures survive an address", () => {
  const strokes = [[[0, 0], [279, 100]], [[5, 7]]] as [number, number][][];
  assert.deepEqual(strokesFromText(strokesToText(strokes)), strokes);
  assert.equal(strokesFromText("zz"), null);
  const parts = partsOf(config(), { contextLength: 20, depth: 2, numHeads: 4 });
  const first = firstState(parts);
  const image = Uint8Array.from({ length: 784 }, (_, i) => (i * 7) % 256);
  const state = { ...first, step: "mix" as const, images: [image, image], layer: 4, removed: [0, 23], masked: [2] };
  assert.deepEqual(stateFromHash(stateToHash(state, first, parts), first, parts), state);
  assert.equal(stateToHash(first, first, parts), "");
});

test("points close to the last one are left out", () => {
  assert.equal(extended([[10, 10]], [11, 10]).length, 1);
  assert.deepEqual(extended([[10, 10]], [400, -3]), [[10, 10], [279, 0]]);
});

test("a sentence of the known kind is given another ending", () => {
  const sentence = "The dog chased the ball because it was hungry.";
  assert.equal(ending(sentence, "round"), "The dog chased the ball because it was round.");
  assert.equal(ending("The cat sat.", "round"), null);
  const model = { config: { contextLength: 3, causal: false }, placeOf: new Map() } as never;
  assert.equal(computeSentence(model, "one two three four").status, "long");
  assert.equal(computeSentence(model, "  ").status, "empty");
});
