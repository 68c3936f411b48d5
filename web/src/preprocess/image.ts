// Pictures as arrays: decoding, luminance, and averages over areas.

import type { Size } from "../engine/config";
import { grid, mapped, median, type Grid } from "./pixels";
import { resizeBicubic } from "./resize";
import { atOriginalSize } from "./resolution";

/** As ImageData: red, green, blue and alpha of each pixel, 0 to 255. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray;
  of?: { width: number; height: number }; // the size before it was averaged down
}

const MAX_UNIFORM_STD = 0.1; // standard deviation below which the visible part counts as one colour
const DRAFT_PIXELS = 4_000_000; // larger JPEGs are decoded at a half, a quarter or an eighth of their size
const GREY_SIDE = 1024; // larger pictures are averaged down by a whole factor when they become grey
const STRIP = 1 << 20; // pixels that are copied at once

/** The pixels of a picture, averaged down as in Python. */
export function pixelsOf(bitmap: ImageBitmap, isJpeg: boolean, isGrey: boolean): Pixels {
  const { width, height } = bitmap;
  const factor = factorOf(width, height, isJpeg, isGrey);
  const [wide, high] = [width, height].map((length) => Math.ceil(length / factor));
  const rows = factor * Math.ceil(STRIP / width / factor);
  const data = new Uint8ClampedArray(4 * wide * high);
  const { context } = canvasOf(width, Math.min(rows, height));
  context.globalCompositeOperation = "copy";
  for (let top = 0; top < height; top += rows) {
    context.drawImage(bitmap, 0, -top);
    const strip = context.getImageData(0, 0, width, Math.min(rows, height - top));
    data.set(reduced(strip, factor).data, (4 * wide * top) / factor);
  }
  return { width: wide, height: high, data, of: { width, height } };
}

/** The address of a picture, at most so wide. */
export async function addressOf(bitmap: ImageBitmap, maxWidth: number): Promise<string> {
  const scale = Math.min(1, maxWidth / bitmap.width);
  const { canvas, context } = canvasOf(Math.ceil(scale * bitmap.width), Math.ceil(scale * bitmap.height));
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const reader = new FileReader();
  reader.readAsDataURL(await canvas.convertToBlob());
  await new Promise((done) => reader.addEventListener("loadend", done));
  return reader.result as string;
}

function canvasOf(width: number, height: number): { canvas: OffscreenCanvas; context: OffscreenCanvasRenderingContext2D } {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no canvas");
  return { canvas, context };
}

/** By which a picture is averaged down. */
export function factorOf(width: number, height: number, isJpeg: boolean, isGrey: boolean): number {
  const draft = isJpeg ? ([1, 2, 4, 8].find((factor) => width * height <= factor ** 2 * DRAFT_PIXELS) ?? 8) : 1;
  return draft * (isGrey ? Math.max(1, Math.floor(Math.ceil(Math.max(width, height) / draft) / GREY_SIDE)) : 1);
}

/** Averages over squares of pixels, weighted by alpha. */
export function reduced({ width, height, data }: Pixels, factor: number): Pixels {
  if (factor === 1) return { width, height, data };
  const [wide, high] = [width, height].map((length) => Math.ceil(length / factor));
  const small = new Uint8ClampedArray(4 * wide * high);
  for (let y = 0, to = 0; y < high; y++) {
    for (let x = 0; x < wide; x++, to += 4) {
      const [right, bottom] = [Math.min(width, (x + 1) * factor), Math.min(height, (y + 1) * factor)];
      let [red, green, blue, alpha] = [0, 0, 0, 0];
      for (let v = y * factor; v < bottom; v++) {
        for (let i = 4 * (v * width + x * factor); i < 4 * (v * width + right); i += 4) {
          const share = data[i + 3];
          red += share * data[i];
          green += share * data[i + 1];
          blue += share * data[i + 2];
          alpha += share;
        }
      }
      const shares = alpha || 1;
      small[to] = Math.floor(red / shares + 0.5);
      small[to + 1] = Math.floor(green / shares + 0.5);
      small[to + 2] = Math.floor(blue / shares + 0.5);
      small[to + 3] = Math.floor(alpha / ((right - x * factor) * (bottom - y * factor)) + 0.5);
    }
  }
  return { width: wide, height: high, data: small, of: { width, height } };
}

/**
 * Luminance from 0 to 1 (ITU-R BT.601, with Pillow's weights). A transparent picture is put on black or
 * white, whichever its visible part differs from; if that has several colours, on their median.
 */
export function toGrey({ width, height, data }: Pixels): Grid {
  const grey = grid(width, height);
  const alpha = new Float32Array(width * height);
  let isOpaque = true;
  for (let i = 0, at = 0; i < alpha.length; i++, at += 4) {
    grey.values[i] = ((data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 0x8000) >> 16) / 255;
    alpha[i] = data[at + 3] / 255;
    isOpaque &&= data[at + 3] === 255;
  }
  if (isOpaque) return atOriginalSize(grey);
  const shown = grey.values.filter((_, i) => alpha[i] > 0.5);
  if (shown.length === 0) return mapped(grey, () => 1);
  const mean = shown.reduce((sum, value) => sum + value, 0) / shown.length;
  const std = Math.sqrt(shown.reduce((sum, value) => sum + (value - mean) ** 2, 0) / shown.length);
  const coverage = alpha.reduce((sum, value) => sum + value, 0) / alpha.length;
  const isUniform = std < MAX_UNIFORM_STD || coverage < MAX_UNIFORM_STD;
  const background = isUniform ? (mean < 0.5 ? 1 : 0) : median(shown);
  return atOriginalSize(mapped(grey, (value, i) => value * alpha[i] + background * (1 - alpha[i])));
}

/** A picture scaled until it covers the size, and cropped at its centre: bytes, channel by channel. */
export function fitted(pixels: Pixels, [height, width]: Size, inChannels: number): Uint8Array {
  const scale = Math.min(pixels.width / width, pixels.height / height);
  const [wide, high] = [width * scale, height * scale];
  const left = (pixels.width - wide) / 2;
  const top = (pixels.height - high) / 2;
  const planes = inChannels === 1 ? [toGrey(pixels)] : [0, 1, 2].map((channel) => onWhite(pixels, channel));
  const result = new Uint8Array(inChannels * height * width);
  planes.slice(0, inChannels).forEach((plane, channel) => {
    const resized = resizeBicubic(plane, height, width, [left, top, left + wide, top + high]);
    result.set(resized.values.map((value) => Math.min(255, Math.max(0, Math.round(value * 255)))), channel * height * width);
  });
  return result;
}

/** One channel from 0 to 1; transparent parts become white. */
function onWhite({ width, height, data }: Pixels, channel: number): Grid {
  const values = Float32Array.from({ length: width * height }, (_, i) => {
    const alpha = data[4 * i + 3] / 255;
    return (data[4 * i + channel] / 255) * alpha + 1 - alpha;
  });
  return grid(width, height, values);
}
