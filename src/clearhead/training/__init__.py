"""Third floor: how a model learns.

- `recipes`: trainings with a name; `config`: their settings; `plan`: the steps that few images need
  (none of them imports torch)
- `job`: from a recipe to a folder with everything in it; `loop`: the training; `step`: one step
- `order`, `schedule`, `optimizer`, `speed`: which images, which rate, which update, how fast
- `state`, `checkpoint`, `run_folder`: what is kept, so that a kill costs nothing
- `distributed`: many processes; `progress`: what is said meanwhile
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
