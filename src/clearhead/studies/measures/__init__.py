"""Measures that studies use, on models and on tensors.

- `classifiers`: digit classifiers trained for a trial, and their accuracy
- `common_digit`, `recall`: two tasks that need attention; `gates`: how far models get without it
- `trainings`: trainings that several studies share
- `slopes`: changes over layers and sizes
- `scores`: variance of q·k; `saturation`: of the softmax, and its gradients
- `scaling`: trainings with and without the factor 1/√d_k
- `distributions`: rows of weights as distributions, and predictions with permuted weights
- `changes`: what changes in attention when values, one query or one key are replaced
- `positions`: permuted tokens and shuffled patches
- `heads`: how heads of a layer differ, and predictions with exchanged weights
- `layers`: receptive fields, attention distances and decodable classes, layer by layer
- `robustness`: falls under corruption from equal starts, and what patches attend to
- `influence`: exact Shapley values of patches and words, and rank correlations with maps
- `neighbours`: classification by nearest neighbours
- `pretrained`: measures of six claims on a pretrained model
- `pronouns`: text models trained for a trial, and how they resolve "it"
- `cost`: time, memory, and attention computed in blocks
"""
