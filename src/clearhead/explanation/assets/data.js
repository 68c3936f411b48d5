// The data of the page (facts as JSON, weights as 16-bit numbers), and names and numbers in words.

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

const SPACE = "\u00a0"; // never at the end of a line

/** "41.3 %"; what is not zero but would read so is "<0.1 %". */
function percent(weight, digits = 1) {
  const smallest = 10 ** -digits;
  if (weight > 0 && 100 * weight < smallest / 2) return `<${smallest}${SPACE}%`;
  return `${(100 * weight).toFixed(digits)}${SPACE}%`;
}

/** "6.6 ×" */
function times(multiple) {
  return `${multiple.toFixed(multiple >= 100 ? 0 : 1)}${SPACE}×`;
}

/** Percentage points with their sign, a true minus. */
function points(fall) {
  const text = Math.abs(100 * fall).toFixed(2);
  if (Number(text) === 0) return "0.00";
  return (fall < 0 ? "−" : "+") + text;
}

/** The name of a key token in a layer. */
function keyName(layer, token) {
  if (!layer.on_grid) return `token ${token + 1}`;
  const { prefix, columns } = facts.grid;
  if (token < prefix.length) return prefix[token];
  const patch = token - prefix.length;
  return `patch ${patch + 1} (row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1})`;
}

/** Whether queries and keys are the same tokens. */
function isSquare(layer) {
  return layer.num_queries === layer.keys;
}

function queryName(layer, query) {
  return isSquare(layer) ? keyName(layer, query) : `query ${query + 1}`;
}

/** The same in a sentence: "the class token", but "patch 7 (row 2, column 3)", "register 1". */
function inWords(name) {
  return /^(class|distillation)/.test(name) ? `the ${name}` : name;
}

/** "L3", or "L3 H2" with a head: both count from 1. */
function layerName(layer) {
  return `L${facts.names.indexOf(layer.name) + 1}`;
}

function headName(layer, head) {
  return `${layerName(layer)} H${head + 1}`;
}

/** The weight of each key if all were equal. */
function uniformWeight(layer) {
  return 1 / layer.keys;
}
