"""Fourth floor: the claims people make about attention, each put to the test.

- `study`: what a study is; `selection`: picking from its outcomes
- `statistics`, `verdict`: how sure a difference is; the one rule from evidence to a verdict
- `registry`: which studies there are; `running/`: every trial measured once, here or on Ray
- `fit`, `digits`: models trained in memory, and what they are trained on
- `sentence_models`, `pronouns`: text models trained in memory, and how they read "it"
- `c01_…` to `c17_…`: one claim a file, each with a `STUDY`
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
