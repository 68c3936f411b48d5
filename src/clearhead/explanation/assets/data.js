// What the page shows: facts as JSON, weights as 16-bit numbers, both inside the file.

const facts = JSON.parse(document.getElementById("facts").textContent);

/** @param {string} id @returns {Uint8Array} */
function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

const WHOLE = 65535; // the number that stands for a weight of 1
const stored = new Uint16Array(bytesOf("weights").buffer);
const cividis = bytesOf("cividis");
const inkBytes = facts.picture.ink ? bytesOf("ink") : null;

/** Weights of one query over all keys; `place` counts the queries that are kept. */
function weightsOf(layer, window, head, place) {
  const start = layer.offset + ((window * layer.heads + head) * layer.queries.length + place) * layer.keys;
  return Array.from(stored.subarray(start, start + layer.keys), (number) => number / WHOLE);
}

/** @param {number[]} values */
function largestPlace(values) {
  return values.reduce((best, value, place) => (value > values[best] ? place : best), 0);
}
