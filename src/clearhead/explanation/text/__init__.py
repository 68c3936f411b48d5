"""Whom the words of a text attend to.

- `attend`: as plain data; `files`: as JSON, CSV or a picture
- `reader`: what a reader of text is; `own`, `hf`: readers of our text models and of transformers'
"""
