"""What attention does in any model: maps, measures of heads, ablation, faithfulness, figures.

Every function returns plain data; drawing is a separate step. Attention is recorded from outside,
through `clearhead.recording`, in the same way in any model.

- `tokens`: the patches of an image or the words of a text; `foreground`: where the strokes are
- `weights`, `tables`: the weights of one layer; `propagation`: rollout and class relevance
- `importance`: value-weighted norms, and four standard maps of what matters to a prediction
- `measures`, `roles`: what each head attends to, and which heads differ from untrained ones
- `ablation`: accuracy without a head, layer or patch
- `perturbation`, `_faithfulness`: whether a map shows what matters to a prediction
- `forward`, `stats`: class probabilities of any model; intervals of paired differences
- `plots`: figures
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
