// In a process of its own: the products of a browser that refuses the memory for WebAssembly.

import assert from "node:assert/strict";
import { test } from "node:test";

import { largestDifference, linear } from "../src/engine/arithmetic";
import { product, weightArray } from "../src/engine/product";
import { filled, plain } from "./support";

WebAssembly.Memory = function (): void {
  throw new RangeError("out of memory");
} as unknown as typeof WebAssembly.Memory;

test("without memory for WebAssembly, products are computed in JavaScript", () => {
  const [x, weight, bias] = [filled(5 * 16, 0), weightArray(3 * 16), filled(3, 2)];
  weight.set(filled(weight.length, 1));
  assert.ok(!product(x, 5, weight, 3, new Float64Array(15)));
  assert.ok(largestDifference(linear(x, 5, { weight, bias }, 3), plain(x, 5, weight, bias)) < 1e-11);
});
