// Colours: weights on one fixed scale from 0 to 100 %, ratios and differences on a signed one.

const LOW = [0xb3, 0x47, 0x00];
const MIDDLE = [0xf7, 0xf4, 0xef];
const HIGH = [0x00, 0x63, 0xa6];
const MAX_MULTIPLE = 16; // the ends of the scale of uniform weights: 1/16 and 16 times

/** Cividis on a square-root scale: small weights differ visibly, and nothing is stretched. */
function fixedColour(weight) {
  const place = 3 * Math.round(255 * Math.sqrt(Math.min(1, Math.max(0, weight))));
  return [cividis[place], cividis[place + 1], cividis[place + 2]];
}

/** From -1 through 0 to 1. */
function signedColour(value) {
  const end = value < 0 ? LOW : HIGH;
  const share = Math.min(1, Math.abs(value));
  return MIDDLE.map((part, i) => Math.round(part + share * (end[i] - part)));
}

/** Orange below the uniform weight, blue above it, on a logarithmic scale. */
function timesColour(weight, even) {
  const ratio = Math.max(weight / even, 1 / MAX_MULTIPLE);
  return signedColour(Math.log2(ratio) / Math.log2(MAX_MULTIPLE));
}

/** The scale that is switched on, for shares of which an even one is `even`. */
function shareColour(even) {
  return state.scale === "times" ? (share) => timesColour(share, even) : fixedColour;
}

const weightColour = (layer) => shareColour(uniformWeight(layer));

/** The bar of the scale that is switched on. */
function scaleBar(even, words, steps = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 1]) {
  if (state.scale === "fixed") {
    return {
      colour: (place) => fixedColour(place ** 2),
      marks: steps.map((weight) => [Math.sqrt(weight), `${100 * weight}`]),
      even: [Math.sqrt(even), words],
    };
  }
  const ratios = [1 / 16, 1 / 4, 4, 16];
  return {
    colour: (place) => signedColour(2 * place - 1),
    marks: ratios.map((ratio) => [
      Math.log2(ratio * 16) / 8,
      ratio < 1 ? `1/${1 / ratio}` : `${ratio}${SPACE}×`,
    ]),
    even: [0.5, `1${SPACE}× ${words}`],
  };
}

const css = (colour) => `rgb(${colour.join(" ")})`;

/** Whether black is the better seen on a colour: contrast by relative luminance, as in WCAG 2. */
function isLight(colour) {
  const [red, green, blue] = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > Math.sqrt(1.05 * 0.05) - 0.05;
}

/** A bar of the scale with its marks, and the uniform weight where there is one. */
function drawBar(host, { colour, marks, even }) {
  const bar = host.querySelector("canvas");
  const width = (bar.width = 256);
  bar.height = 1;
  const context = bar.getContext("2d");
  for (let x = 0; x < width; x++) {
    context.fillStyle = css(colour(x / (width - 1)));
    context.fillRect(x, 0, 1, 1);
  }
  const ticks = host.querySelector(".ticks");
  ticks.replaceChildren(
    ...marks.map(([place, text]) => tick(place, text, "")),
    ...(even ? [tick(even[0], even[1], even[0] < 0.2 ? "even near" : "even")] : []),
  );
}

function tick(place, text, kind) {
  const mark = document.createElement("span");
  mark.className = kind;
  mark.style.left = `${100 * place}%`;
  mark.textContent = text;
  return mark;
}
