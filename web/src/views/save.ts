// Saves the figure as SVG or PNG, and its numbers as CSV.

import { figure } from "../draw/figure";
import { headName, tokenName } from "../draw/geometry";
import { chosenHead, type Store } from "../state/store";
import { sentenceOf } from "../parts/prediction";
import { weightTable } from "./attentionsteps";

const PNG_SCALE = 3;

export function figureOf(store: Store): string | null {
  const { config, result, state, changes } = store;
  const head = chosenHead(store);
  const { ink, predictions, digit } = result.value;
  if (!head) return null;
  const { layer, head: number, query, scale } = state.value;
  return figure({
    config,
    ink,
    weights: head.weights,
    layer,
    head: number,
    query,
    scale,
    prediction: sentenceOf(predictions[digit], config.classNames, config.readsDigits),
    changes: changes.value,
  });
}

export function saveSvg(store: Store): void {
  const svg = figureOf(store);
  if (svg === null) store.say("There is no picture to save yet.");
  else save(store, "svg", new Blob([svg], { type: "image/svg+xml" }));
}

export function savePng(store: Store): void {
  const svg = figureOf(store);
  if (svg === null) {
    store.say("There is no picture to save yet.");
    return;
  }
  const image = new Image();
  image.onload = () => {
    const canvas = document.createElement("canvas");
    canvas.width = image.width * PNG_SCALE;
    canvas.height = image.height * PNG_SCALE;
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => {
      if (blob) save(store, "png", blob);
    });
  };
  image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** The weights of the head; lines that begin with # say what they are. */
export function saveCsv(store: Store): void {
  const { changes, state, config, payload } = store;
  if (!chosenHead(store)) {
    store.say("There is nothing to save yet.");
    return;
  }
  const { caption, columns } = weightTable(store);
  const head = chosenHead(store);
  const { tokens } = config;
  const lines = [
    `# ${caption}`,
    `# model: ${payload.name}; query shown: ${tokenName(state.value.query, config)}`,
    `# changes: ${changes.value.join(", ") || "none: the trained model"}`,
    columns.join(),
    ...Array.from({ length: tokens }, (_, i) => [columns[i + 1], ...(head ? head.weights.subarray(i * tokens, (i + 1) * tokens) : [])].join()),
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
