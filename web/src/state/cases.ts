// The cases of the gallery: a picture and settings of the model, with what they show.

import type { Payload } from "../data/payload";
import type { Config } from "../engine/config";
import { strokesFromText } from "../preprocess/strokes";
import type { State } from "./state";

interface Case {
  title: string;
  question: string;
  text: string;
  state: (payload: Payload, config: Config) => Partial<State>;
  maps?: boolean; // shows maps of importance instead of the prediction
}

const FOUR_OR_NINE = "3x1w3i1y2q2n2o34343o463q4w38.511o4y3w4a69";
const SEVENTEEN = "1h1y1k6a.391z5c215b214v3h4l5g4e6d";
const LETTER_A = "3w1a2t3z1w6c.3w1a4r3z5q6c.2c4m5a4m";

/** The strokes of the first example with this label. */
function example({ examples }: Payload, label: string): Partial<State> {
  const found = examples.find((one) => one.label === label);
  return { strokes: found?.strokes ?? [], images: [], digit: 0 };
}

const drawn = (text: string): Partial<State> => ({ strokes: strokesFromText(text) ?? [], images: [], digit: 0 });

const CASES: Case[] = [
  {
    title: "4 or 9?",
    question: "Between two classes",
    text: "The top is almost closed, and two classes share nearly all of the probability. Go to the pad and close or open the gap: the prediction changes.",
    state: () => drawn(FOUR_OR_NINE),
  },
  {
    title: "Eight heads fewer",
    question: "Does the prediction change?",
    text: "A third of the heads is switched off, two in each of the layers 3 to 6, and the prediction stays. One head is rarely indispensable; all of a layer's together may be.",
    state: (payload, { depth, numHeads }) => ({
      ...example(payload, "3"),
      removed: Array.from({ length: depth }, (_, layer) => layer)
        .filter((layer) => layer >= 2)
        .flatMap((layer) => [layer * numHeads + 1, layer * numHeads + 2]),
    }),
  },
  {
    title: "Attention is not importance",
    question: "Which patches decide?",
    text: "Two attention maps, and measured effects. They point to different patches: attention shows which values are mixed, not what the prediction depends on.",
    state: (payload, config) => (config.readsDigits ? example(payload, "7") : {}),
    maps: true,
  },
  {
    title: "Order lost",
    question: "Shuffled patches, no positions",
    text: "Without positions the input is a set of patches. In any order the logits are the same to the last digits: the prediction does not depend on the order.",
    state: (payload) => ({ ...example(payload, "5"), positions: false, seed: 5 }),
  },
  {
    title: "17",
    question: "Two digits at once",
    text: "The page separates them as the command predict does, and the model classifies one at a time. Choose which one to follow.",
    state: () => drawn(SEVENTEEN),
  },
  {
    title: "A",
    question: "Not a digit",
    text: "A network with ten classes must spread 100 % over them. With thresholds a picture can be rejected; some letters still pass for digits.",
    state: () => drawn(LETTER_A),
  },
];

export function casesOf({ readsDigits }: Pick<Config, "readsDigits">): Case[] {
  return readsDigits ? CASES : CASES.filter(({ maps }) => maps);
}
