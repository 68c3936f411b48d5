import assert from "node:assert/strict";
import { test } from "node:test";

import type { Stroke } from "../src/preprocess/strokes";
import { NOTHING, noPredictionText, PICTURE_TEXTS, stillOpened, type OpenedPicture } from "../src/state/opened";

const photo = { address: "blob:1", boxes: [] };
const [read, failed, empty]: OpenedPicture[] = [{ status: "read", photo }, { status: "failed", photo: null }, { status: "without digit", photo }];

test("what became of a picture holds until something else is shown", () => {
  const shown = { strokes: [], images: [new Uint8Array(1)] };
  assert.equal(stillOpened(read, shown, { ...shown }), read);
  assert.equal(stillOpened(read, shown, { ...shown, images: [...shown.images] }), NOTHING);
  assert.equal(stillOpened(failed, shown, { ...shown, strokes: [] }), NOTHING);
});

test("a picture without a digit is not called missing or small, and a file that is none leaves the drawing's reason", () => {
  const [small, none] = [{ strokes: [[[1, 1]]] as Stroke[], images: [] }, { strokes: [], images: [] }];
  for (const shown of [small, none]) assert.equal(noPredictionText(shown, empty), PICTURE_TEXTS["without digit"]);
  assert.equal(noPredictionText(small, failed), noPredictionText(small, NOTHING));
  assert.equal(noPredictionText(none, failed, "Draw a digit."), "Draw a digit.");
  assert.notEqual(noPredictionText(small, NOTHING), noPredictionText(none, NOTHING));
});
