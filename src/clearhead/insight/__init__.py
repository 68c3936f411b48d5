"""Third floor: what attention means, as plain data; drawing is a step of its own.

- `tokens`, `grids`: what the tokens are, said and not guessed; the grid as a model says it
- `maps`, `tables`: one query's weights over the patches, whole matrices, names and percentages
- `flow`: one head stage by stage
- `rollout`, `relevance`, `norms`: flow through all layers; per class; what values hand over
- `ink`, `measures`, `heads`: where the ink lies; what one head does; measures of every head
- `untrained`, `roles`: the same of heads that learnt nothing; words for heads that earn them
- `answers`, `parts`, `removal`, `ablation`, `paired`: the answer without a part of its attention
- `baselines`, `curves`, `standard_maps`, `faithfulness`: does a map show what mattered?
- `colours`, `drawing`, `figures`, `diagram`: pictures of all this

It works from outside, through `clearhead.capture`, in the same way on any model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
