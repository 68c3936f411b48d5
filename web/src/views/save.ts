// Saves the figure as SVG or PNG, and its numbers as CSV.

import { figure } from "../draw/figure";
import { headName, tokenName } from "../draw/geometry";
import { row } from "../engine/arithmetic";
import { chosenHead, type Store } from "../state/store";
import { sentenceOf } from "../parts/prediction";
import { weightTable } from "./attentionsteps";

const PNG_SCALE = 3;

export type Kind = "svg" | "png" | "csv";

/** Saves the chosen head; without a picture, there is only a message. */
export async function save(store: Store, kind: Kind): Promise<void> {
  const { config, state } = store;
  const { layer, head, query } = state.value;
  const weights = chosenHead(store)?.weights;
  if (!weights) return store.say("There is nothing to save yet.");
  const name = `clearhead ${headName(layer, head)} ${tokenName(query, config)}.${kind}`.replaceAll(" ", "-").toLowerCase();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await { svg: svgOf, png: pngOf, csv: csvOf }[kind](store, weights));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  store.say(`Saved ${name}.`);
}

function svgOf({ config, result, state, changes }: Store, weights: Float64Array): Blob {
  const { ink, prediction } = result.value;
  const said = sentenceOf(prediction!, config.classNames, config.readsDigits);
  return new Blob([figure({ ...state.value, config, ink, weights, prediction: said, changes: changes.value })], { type: "image/svg+xml" });
}

async function pngOf(store: Store, weights: Float64Array): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(await svgOf(store, weights).text())}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width * PNG_SCALE;
  canvas.height = image.height * PNG_SCALE;
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture")))));
}

/** The weights of the head; lines that begin with # say what they are. */
function csvOf(store: Store, weights: Float64Array): Blob {
  const { changes, state, config, payload } = store;
  const { caption, columns } = weightTable(store);
  const lines = [
    `# ${caption}`,
    `# model: ${payload.name}; query shown: ${tokenName(state.value.query, config)}`,
    `# changes: ${changes.value.join(", ") || "none: the trained model"}`,
    columns.join(),
    ...columns.slice(1).map((name, i) => [name, ...row(weights, i, config.tokens)].join()),
  ];
  return new Blob([`${lines.join("\n")}\n`], { type: "text/csv" });
}
