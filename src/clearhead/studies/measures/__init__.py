"""Measures that studies use, on models and on tensors.

- `classifiers`: digit classifiers trained for a trial, and their accuracy
- `learning_curves`: grid, trial, panels and summaries for accuracy by number of training digits
- `scores`: variance of q·k; `saturation`: of the softmax, and its gradients
- `scaling`: trainings with and without the factor 1/√d_k
- `layers`: receptive fields, attention distances and decodable classes, layer by layer
- `robustness`: accuracy on corrupted digits, and how attention changes
- `influence`: effects of ablating patches, pixel gradients, and rank correlations with maps
- `pronouns`: text models trained for a trial, and how they resolve "it"
- `cost`: time, memory, and attention computed in blocks
"""
