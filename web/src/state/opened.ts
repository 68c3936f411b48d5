// What became of the last picture that was opened.

import type { Opened } from "../preprocess/picture";
import type { State } from "./state";

export type Photo = Omit<Opened, "inputs">; // on the pad

export type OpenedPicture =
  | { status: "nothing"; photo: null }
  | { status: "reading" | "failed"; photo: Photo | null } // with the one before, which is still shown
  | { status: "read" | "without digit"; photo: Photo };

export const NOTHING: OpenedPicture = { status: "nothing", photo: null };

/** What is said of a picture besides its prediction. */
export const PICTURE_TEXTS: Record<OpenedPicture["status"], string> = {
  nothing: "",
  reading: "Reading the picture …",
  read: "",
  "without digit": "No digit was found in this picture.",
  failed: "This file is not a picture that the browser can open.",
};

type Shown = Pick<State, "strokes" | "images">;

/** The picture, unless a drawing or another picture is shown since then. */
export function stillOpened(picture: OpenedPicture, then: Shown, now: Shown): OpenedPicture {
  return then.strokes === now.strokes && then.images === now.images ? picture : NOTHING;
}

/** Why there is no prediction. */
export function noPredictionText({ strokes }: Shown, { status, photo }: OpenedPicture, otherwise = "There is no picture yet."): string {
  return photo ? PICTURE_TEXTS[status] : strokes.length > 0 ? "Very small: draw larger." : otherwise;
}
