"""Whom tokens ask, as plain data: one query, one head, all layers.

- `weights`, `tables`: one query's weights over the patches, whole matrices; names and percentages
- `flow`: one head stage by stage
- `rollout`, `relevance`, `norms`: flow through all layers; per class; what values hand over
- `standard`: the four maps that are shown most often, of the same images
"""
