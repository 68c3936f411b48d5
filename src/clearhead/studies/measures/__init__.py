"""Measures that studies use, on models and on tensors.

- `classifiers`: digit classifiers trained for a trial, and their accuracy
- `learning_curves`: grid, trial, panels and summaries for accuracy by number of training digits
- `scores`: variance of q·k; `saturation`: of the softmax, and its gradients
- `scaling`: trainings with and without the factor 1/√d_k
- `distributions`: rows of weights as distributions, and predictions with permuted weights
- `changes`: what changes in attention when values, one query or one key are replaced
- `positions`: permuted tokens and shuffled patches
- `heads`: how heads of a layer differ, and predictions with exchanged weights
- `layers`: receptive fields, attention distances and decodable classes, layer by layer
- `robustness`: accuracy on corrupted digits, and how attention changes
- `influence`: effects of ablating patches, pixel gradients, and rank correlations with maps
- `pronouns`: text models trained for a trial, and how they resolve "it"
- `cost`: time, memory, and attention computed in blocks
"""
