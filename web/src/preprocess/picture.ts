// A picture to model inputs, as in clearhead.inference.

import type { Config } from "../engine/config";
import { findDigits, type Digit } from "./digits";
import { fitted, toGrey, type Pixels } from "./image";

/** The pixels of a picture file that the browser can decode. */
export async function pixelsOf(file: Blob): Promise<Pixels> {
  const bitmap = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no canvas");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** Each digit in reading order; for other models, the whole picture. */
export function inputsOfPicture(pixels: Pixels, config: Config): Digit[] {
  if (config.readsDigits) return findDigits(toGrey(pixels));
  return [{ pixels: fitted(pixels, config.imageShape, config.inChannels), isWide: false }];
}
