// Decisions between one digit and several, as in clearhead.inference.

import assert from "node:assert/strict";
import { test } from "node:test";

import type { Status } from "../src/engine/predict";
import { SEVERAL, SLASH } from "../src/preprocess/digits";
import { oneOrSeveral, statusOf, type Predicted } from "../src/preprocess/picture";

function digit(status: Status, left: number, warnings: number[] = []): Predicted {
  const prediction = { status, best: 1, second: 2, probabilities: [], warnings: [] };
  return { input: { pixels: new Uint8Array(), box: [left, 0, left + 10, 20], warnings }, prediction, softened: 1 };
}

const [one, left, right, below] = [digit("confident", 0), digit("confident", 0), digit("confident", 12), digit("confident", 4)];
const unknown = digit("rejected", 12);

test("two readings that are both confident are doubtful, and side by side they are several digits", () => {
  const found = oneOrSeveral([one], [[left], [right]]);
  assert.deepEqual(found.map(({ input }) => input.warnings), [[SEVERAL], [SEVERAL]]);
  assert.equal(statusOf(found), "doubtful");
  assert.deepEqual(oneOrSeveral([one], [[left], [below]]).map(({ input }) => [input.box[0], ...input.warnings]), [[0, SEVERAL]]);
});

test("parts that are not all digits are pieces of a digit that is", () => {
  assert.deepEqual(oneOrSeveral([one], [[left], [unknown]]), [one]);
  assert.deepEqual(oneOrSeveral([digit("doubtful", 0)], [[left], [unknown]]), [left, unknown]);
  assert.deepEqual(oneOrSeveral([digit("doubtful", 0)], [[unknown]]), [digit("doubtful", 0)]);
});

test("slashes are left out, with a doubt, unless nothing else is there", () => {
  const slash = digit("doubtful", 24, [SLASH]);
  assert.deepEqual(oneOrSeveral([], [[left], [right], [slash]]).map(({ input }) => input.warnings), [[SLASH], [SLASH]]);
  assert.deepEqual(oneOrSeveral([], [[slash]]), [slash]);
});
