"""What attention does in any model: maps, measures of heads, ablation, faithfulness, figures.

Every function returns plain data; drawing is a separate step. Attention is recorded from outside,
through `clearhead.recording`, in the same way in any model.

- `tokens`: the patches of an image or the words of a text; `foreground`: where the strokes are
- `weights`, `tables`: the weights of one layer
- `propagation`, `relevance`: rollout and maximum flow; relevance for one class
- `coalitions`: exact Shapley values of patches
- `attribution`: all methods under one protocol, with `_layerwise` (LeGrad, TokenTM) and `_attnlrp`
- `measures`, `roles`: what each head attends to, and which heads differ from untrained ones
- `ablation`: accuracy without a head, layer or patch
- `perturbation`: images of which some patches are replaced, and the score of a class on them
- `curves`, `metrics`: whether a map shows what matters to a prediction
- `forward`, `stats`: logits and probabilities of any model; intervals of paired differences
- `plots`: figures
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
