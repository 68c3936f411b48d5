"""Clearhead: a Vision Transformer you can see through.

```
errors.py        the exception tree
durable.py       files that are written whole or not at all
attention/       ground floor: the mathematics. Tensors in, tensors out
models/          first floor: Vision and text Transformer, CNN and MLP baselines, shipped weights
data/            first floor: data sets with checksums, any picture to 28 × 28, sentences
capture/         first floor: watch attention inside any PyTorch model, and prove what was seen
evaluation/      second floor: accuracy with intervals, calibration, the picture of the mistakes
insight/         third floor: what attention says: maps, flow, heads, ablation, faithfulness
training/        third floor: recipes, loop, optimisers, checkpoints, many processes
prediction/      third floor: one picture, one answer
studies/         fourth floor: claims about attention, tested
report/          fifth floor: a picture, a sentence or a study, in files that open anywhere
microscope/      fifth floor: one HTML page to look through a model's attention
serve/           sixth floor: a model over HTTP
cli/             roof: one short file for each command
```

A file imports from lower floors and from its own room only. Everything named below is loaded when
it is first used, so that `import clearhead` costs nothing:

    import clearhead as ch

    model = ch.load()
    ch.predict(model, "seven.png")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
