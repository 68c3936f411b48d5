// Colours of all views: cividis for weights, orange to blue for signed numbers.

/** @typedef {[number, number, number]} Colour red, green, blue, 0 to 255 */

// Cividis (Nuñez, Anderton and Renslow 2018): equally readable with colour blindness.
const CIVIDIS = (
  "00224e 00285b 002e6a 053371 1a386f 273e6e 32436d 3b496c 434e6c 4b546c 535a6d " +
  "5a5f6e 61656f 686a71 6f7073 767676 7d7c78 848279 8c8878 938e78 9b9476 a39a74 " +
  "aba072 b4a76f bcae6c c4b468 cdbb63 d5c25e dec958 e7d150 f0d846 f9e03a fee838"
)
  .split(" ")
  .map(fromHex);
const SIGNED = ["b34700", "f7f4ef", "0063a6"].map(fromHex);
const MAX_MULTIPLE = 8; // the scale of multiples goes from 1/8 to 8

/** @typedef {"fixed" | "even" | "stretched"} ScaleMode */

/**
 * The colour of a share from 0 to 1 on the fixed scale, by its square root.
 * @param {number} share
 */
export function shareColour(share) {
  return onRamp(CIVIDIS, Math.sqrt(share));
}

/**
 * The colour of a weight in one of the three modes.
 * @param {number} weight
 * @param {ScaleMode} mode
 * @param {number} even 1 / number of keys
 * @param {number} largest weight shown
 */
export function weightColour(weight, mode, even, largest) {
  if (mode === "even") return timesColour(weight / even);
  return shareColour(mode === "stretched" && largest > 0 ? weight / largest : weight);
}

/** The colour of a multiple of the uniform weight: 1 in the middle, 1/8 and 8 at the ends. @param {number} times */
export function timesColour(times) {
  return onRamp(SIGNED, (Math.log2(times) / Math.log2(MAX_MULTIPLE) + 1) / 2);
}

/**
 * The colour of a number from -domain to domain.
 * @param {number} value
 * @param {number} domain
 */
export function signedColour(value, domain) {
  return onRamp(SIGNED, (value / domain + 1) / 2);
}

/**
 * The next larger of 1, 2, 5, 10, 20, …, as the end of a scale.
 * @param {number} largest
 */
export function roundDomain(largest) {
  if (!(largest > 0) || !Number.isFinite(largest)) return 1;
  const unit = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 5, 10].map((step) => step * unit).find((domain) => domain >= largest) ?? 10 * unit;
}

/** @param {Colour} colour */
export function css([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}

/** Whether black has more contrast than white on it (WCAG 2 relative luminance). @param {Colour} colour */
export function isLight(colour) {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179;
}

/**
 * @param {Colour[]} ramp
 * @param {number} place 0 to 1
 * @returns {Colour}
 */
function onRamp(ramp, place) {
  const at = Math.min(1, Math.max(0, Number.isNaN(place) ? 0 : place)) * (ramp.length - 1);
  const [low, high] = [ramp[Math.floor(at)], ramp[Math.ceil(at)]];
  const share = at - Math.floor(at);
  /** @param {number} i */
  const mixed = (i) => Math.round(low[i] + (high[i] - low[i]) * share);
  return [mixed(0), mixed(1), mixed(2)];
}

/**
 * @param {string} hex
 * @returns {Colour}
 */
function fromHex(hex) {
  const number = parseInt(hex, 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}
