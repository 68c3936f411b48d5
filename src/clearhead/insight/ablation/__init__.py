"""The answer without a part of the attention.

- `parts`: naming heads, layers and patches; `removal`: a forward pass without them
- `ablate`: what the answers lose, with intervals
"""
