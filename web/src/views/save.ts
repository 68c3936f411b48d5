// Saves the figure as SVG or PNG, and its numbers as CSV.

import { figure } from "../draw/figure";
import { headName, tokenName } from "../draw/geometry";
import { row } from "../engine/arithmetic";
import { chosenHead, type Store } from "../state/store";
import { sentenceOf } from "../parts/prediction";
import { weightTable } from "./attentionsteps";

const PNG_SCALE = 3;

function figureOf({ config, result, state, changes }: Store, weights: Float64Array): string {
  const { ink, predictions, digit } = result.value;
  const prediction = sentenceOf(predictions[digit], config.classNames, config.readsDigits);
  return figure({ ...state.value, config, ink, weights, prediction, changes: changes.value });
}

/** The weights of the chosen head; without a picture, a message and null. */
function weightsToSave(store: Store): Float64Array | null {
  const weights = chosenHead(store)?.weights ?? null;
  if (!weights) store.say("There is nothing to save yet.");
  return weights;
}

export function saveSvg(store: Store): void {
  const weights = weightsToSave(store);
  if (weights) save(store, "svg", new Blob([figureOf(store, weights)], { type: "image/svg+xml" }));
}

export function savePng(store: Store): void {
  const weights = weightsToSave(store);
  if (!weights) return;
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = image.width * PNG_SCALE;
    canvas.height = image.height * PNG_SCALE;
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => blob && save(store, "png", blob));
  };
  image.src = `data:image/svg+xml,${encodeURIComponent(figureOf(store, weights))}`;
}

/** The weights of the head; lines that begin with # say what they are. */
export function saveCsv(store: Store): void {
  const { changes, state, config, payload } = store;
  const weights = weightsToSave(store);
  if (!weights) return;
  const { caption, columns } = weightTable(store);
  const { tokens } = config;
  const lines = [
    `# ${caption}`,
    `# model: ${payload.name}; query shown: ${tokenName(state.value.query, config)}`,
    `# changes: ${changes.value.join(", ") || "none: the trained model"}`,
    columns.join(),
    ...Array.from({ length: tokens }, (_, i) => [columns[i + 1], ...row(weights, i, tokens)].join()),
  ];
  save(store, "csv", new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
}

function save(store: Store, kind: string, blob: Blob): void {
  const { layer, head, query } = store.state.value;
  const name = `clearhead ${headName(layer, head)} ${tokenName(query, store.config)}.${kind}`.replaceAll(" ", "-").toLowerCase();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  store.say(`Saved ${name}.`);
}
