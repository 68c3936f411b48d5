"""Texts as words, and these as places in a vocabulary.

- `words`: the tokenizer
- `sentences`, of the words in `lexicon`: generated ones, in which the last word decides what "it"
  is
"""
