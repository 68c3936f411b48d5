"""Measures that studies use, on models and on tensors.

- `classifiers`: digit classifiers trained for a trial, and their accuracy; `learning_curves`
- `scores`: variance of q·k; `saturation`: of the softmax, and its gradients
- `scaling`: trainings with and without the factor 1/√d_k
- `receptive_field`: which pixels move a unit of a layer
- `influence`: patches ablated, gradients of pixels, and rank correlations with attention
- `pronouns`: text models trained for a trial, and how they resolve "it"
- `cost`: time, memory, and attention computed in blocks
"""
