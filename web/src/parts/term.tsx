// Terms with their meaning: a button in the text opens it.

import type { ComponentChildren } from "preact";

const WIDTH = 290; // of a meaning, as in the style

const idOf = (name: TermName): string => `meaning-${name.replaceAll(" ", "-")}`;

/** A term in a text. */
export function Term({ name, children = name }: { name: TermName; children?: ComponentChildren }) {
  const id = idOf(name);
  return (
    <button type="button" class="term-name" popoverTarget={id} aria-describedby={id} onClick={(event) => place(document.getElementById(id)!, event.currentTarget)}>
      {children}
    </button>
  );
}

/** The meanings of all terms, once for the page. */
export function Meanings() {
  return (
    <aside aria-label="Meanings of terms">
      {(Object.keys(TERMS) as TermName[]).map((name) => (
        <div key={name} id={idOf(name)} class="meaning" role="note" popover="auto">
          <b>{name}</b> {TERMS[name]}
        </div>
      ))}
    </aside>
  );
}

/** Puts a meaning below its term, or above in the lower half of the window. */
function place(meaning: HTMLElement & { currentCSSZoom?: number }, term: HTMLElement): void {
  const { left, top, bottom } = term.getBoundingClientRect();
  const zoom = meaning.currentCSSZoom ?? 1;
  const across = Math.max(8, Math.min(left, innerWidth - WIDTH * zoom - 8));
  const isLow = top > innerHeight / 2;
  Object.assign(meaning.style, {
    left: `${across / zoom}px`,
    top: isLow ? "auto" : `${(bottom + 4) / zoom}px`,
    bottom: isLow ? `${(innerHeight - top + 4) / zoom}px` : "auto",
  });
}

export const TERMS = {
  layer: "One of the model's equal stages, passed one after another: in each, tokens exchange information by attention, then each is changed alone.",
  head: "One of several attentions that work side by side in a layer, each with matrices and weights of its own. L3 H1 is head 1 of layer 3.",
  "attends to": "A patch attends to another if it takes information from it; the weight is the share of all that it takes.",
  "uniform weight": "The weight of every patch if attention made no difference between them: 100 % divided by the number of patches.",
  token: "The vector that stands for a patch inside the model, at first made from its pixels, then changed by every layer.",
  vector: "A list of numbers. Two vectors point in the same direction if their numbers are large and small at the same places.",
  matrix: "A table of learnt numbers. Multiplying a vector by it gives a new vector, each number a weighted sum of the old ones.",
  W: "Three matrices of each head: one makes the query of a token, one the key, one the value. Their numbers are learnt.",
  "centre of mass": "The mean position of the ink, where a cut-out of the digit would balance.",
  LN: "Layer normalisation: shifts and scales a token to mean 0 and standard deviation 1, then multiplies and adds learnt numbers.",
  bias: "b in a formula: learnt numbers that are added whatever the input is.",
  "one-hot": "A row is one-hot if one key gets all the weight, and all others none.",
  "power of e": "e ≈ 2.718 multiplied by itself as often as the score says; always positive, and 2.7 times as large for a score larger by 1.",
  MLP: "A small network of two matrices with a nonlinear function between them, applied to each token by itself.",
  logit: "The model's raw score for a class, before softmax turns the scores of all classes into probabilities.",
  "logit lens": "The classifier applied to the tokens of an earlier layer, as if the model ended there.",
  "log-odds": "The logarithm of P ÷ (1 − P). It still changes when a probability is close to 0 or 100 %; −0.7 halves the odds.",
  entropy: "How evenly a row spreads its weight: 0 bits if one patch gets all, 4 bits if 16 patches get the same.",
  rollout: "Attention multiplied through all layers, an estimate of how much each patch of the picture contributes to the output.",
  "Shapley value": "What a patch adds to the prediction, averaged over all orders in which the patches could be added.",
  certainty: "Computed from the logits and the strokes: how likely it is that the picture is of one of the model's classes, and rightly classified.",
} as const;

type TermName = keyof typeof TERMS;
