// The terms of the page, each in a sentence.

export const TERMS = {
  layer: "One of the model's equal stages, passed one after another: in each, tokens exchange information by attention, then each is changed alone.",
  head: "One of several attentions that work side by side in a layer, each with matrices and weights of its own. L3 H1 is head 1 of layer 3.",
  "attends to": "A patch attends to another if it takes information from it; the weight says what share of all that it takes.",
  "uniform weight": "The weight of every patch if attention made no difference between them: 100 % divided by the number of patches.",
  token: "The vector that stands for a patch inside the model, at first made from its pixels, then changed by every layer.",
  vector: "A list of numbers. Two vectors point in the same direction if their numbers are large and small at the same places.",
  matrix: "A table of learnt numbers. Multiplying a vector by it gives a new vector, each number a weighted sum of the old ones.",
  "centre of mass": "The mean position of the ink, where a cut-out of the digit would balance.",
  LN: "Layer normalisation: shifts and scales a token to mean 0 and standard deviation 1, then multiplies and adds learnt numbers.",
  bias: "b in a formula: learnt numbers that are added whatever the input is.",
  "one-hot": "A row is one-hot if one key gets all the weight, and all others none.",
  "power of e": "e ≈ 2.718 multiplied by itself as often as the score says; always positive, and 2.7 times as large for a score larger by 1.",
  MLP: "A small network of two matrices with a bend between them, applied to each token by itself.",
  logit: "The model's raw score for a class, before softmax turns the scores of all classes into probabilities.",
  "logit lens": "The classifier applied to the tokens of an earlier layer, as if the model ended there.",
  "log-odds": "The logarithm of P ÷ (1 − P). It still changes when a probability is close to 0 or 100 %; −0.7 halves the odds.",
  entropy: "How evenly a row spreads its weight: 0 bits if one patch gets all, 4 bits if 16 patches get the same.",
  rollout: "Attention multiplied through all layers, an estimate of how much each patch of the picture reaches the end.",
  "Shapley value": "What a patch adds to the prediction, averaged over all orders in which the patches could be added.",
  certainty: "Computed from the logits and the strokes: how likely it is that the picture is of a class that the model knows, and rightly classified.",
} as const;

export type TermName = keyof typeof TERMS;
