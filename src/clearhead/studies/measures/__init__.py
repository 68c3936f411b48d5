"""Measures that studies use, on models and on tensors.

- `classifiers`: digit classifiers trained for a trial; `tasks`: two tasks that need attention;
  `trainings`: training runs that studies share, and how far models get without attention
- `scores`, `saturation`: variance of q·k; saturation of the softmax, and training without 1/√d_k
- `distributions`, `changes`: properties of the formula, and of positions, on tensors and models
- `heads`, `layers`, `slopes`: what differs between heads and layers, and changes with size
- `robustness`, `influence`: predictions under corruption, and without patches or words
- `pronouns`: text models and how they resolve "it"; `cost`: time and memory
- `pretrained`: measures of six claims on a pretrained model
"""
