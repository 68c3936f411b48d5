// Names of tokens, numbers in words: the same words in sentences, tables and labels.

const SPACE = "\u00a0"; // never at the end of a line

/** "41.3 %"; what is not zero but would read so is "<0.1 %". */
function percent(weight, digits = 1) {
  const least = 10 ** -digits;
  if (weight > 0 && 100 * weight < least / 2) return `<${least}${SPACE}%`;
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

/** What a token of the keys is called in a layer. */
function keyName(layer, token) {
  if (!layer.onGrid) return `token ${token + 1}`;
  const { prefix, columns } = facts.grid;
  if (token < prefix.length) return prefix[token];
  const patch = token - prefix.length;
  return `patch at row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1}`;
}

/** Whether the tokens that ask are the tokens that are asked. */
function isSquare(layer) {
  return layer.numQueries === layer.keys;
}

function queryName(layer, query) {
  return isSquare(layer) ? keyName(layer, query) : `query ${query + 1}`;
}

/** The same in a sentence: "the patch at row 2, column 3", but "token 13", "register 1". */
function inWords(name) {
  return /^(patch|class|distillation)/.test(name) ? `the ${name}` : name;
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function layerName(layer) {
  return `layer ${facts.names.indexOf(layer.name) + 1}`;
}

/** What each key would get if all got the same. */
function evenShare(layer) {
  return 1 / layer.keys;
}
