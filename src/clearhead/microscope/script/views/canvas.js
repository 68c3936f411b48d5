// Small pictures: ink over cells, vectors as colours, thumbnails of matrices.

import { css, isLight, signedColour } from "../colours.js";
import { el } from "../element.js";

/** @typedef {import("../colours.js").Colour} Colour */
/** @typedef {import("../config.js").Config} Config */

const PAPER = /** @type {Colour} */ ([255, 255, 255]);
const WHITE = "255, 255, 255";
const BLACK = "15, 18, 24";

/** @param {number} width @param {number} height @param {string} className */
export function createCanvas(width, height, className) {
  return el("canvas", { width, height, class: className });
}

/** @param {HTMLCanvasElement} canvas */
export function pen(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * Ink, one canvas pixel per image pixel: light on dark cells, dark on light ones.
 * @param {HTMLCanvasElement} canvas
 * @param {Float64Array} ink
 * @param {Config} config
 * @param {(Colour | null)[]} under the colour of each patch; null is white
 */
export function drawInk(canvas, ink, { imageShape, patchShape, grid }, under) {
  const context = pen(canvas);
  context.clearRect(0, 0, canvas.width, canvas.height);
  ink.forEach((value, i) => {
    if (value <= 0) return;
    const [row, column] = [Math.floor(i / imageShape[1]), i % imageShape[1]];
    const patch = Math.floor(row / patchShape[0]) * grid[1] + Math.floor(column / patchShape[1]);
    const colour = isLight(under[patch] ?? PAPER) ? BLACK : WHITE;
    context.fillStyle = `rgba(${colour}, ${value})`;
    context.fillRect(column, row, 1, 1);
  });
}

/**
 * The model input: light ink on black, as in training.
 * @param {HTMLCanvasElement} canvas
 * @param {Float64Array} ink
 */
export function drawModelInput(canvas, ink) {
  const context = pen(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  ink.forEach((value, i) => {
    image.data.fill(Math.round(value * 255), 4 * i, 4 * i + 3);
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

/**
 * A matrix, one canvas pixel per number.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} values
 * @param {(value: number) => Colour} colourOf
 */
export function drawMatrix(canvas, values, colourOf) {
  const context = pen(canvas);
  for (let i = 0; i < values.length; i++) {
    context.fillStyle = css(colourOf(values[i]));
    context.fillRect(i % canvas.width, Math.floor(i / canvas.width), 1, 1);
  }
}

/**
 * A vector as one line of signed colours.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} values
 * @param {number} domain
 */
export function drawStrip(canvas, values, domain) {
  canvas.width = values.length;
  canvas.height = 1;
  drawMatrix(canvas, values, (value) => signedColour(value, domain));
}
